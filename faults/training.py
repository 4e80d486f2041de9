"""What training does: each way to end, to be started and to share its process, and what the trackers then say of it."""

import functools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import scene
from faults.cell import Cell, Trial
from runcast.delivery.liveness import last_status
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics, points
from runcast.journal.state import load_state

FILE, SDKS = ("memory",), ("tensorboard", "mlflow", "wandb")

# Linux 6.15 is the first to tell which signal ended another process.
KERNEL = tuple(map(int, os.uname().release.replace("-", ".").split(".")[:2])) if sys.platform == "linux" else (0, 0)
TOLD_TO_GO = "killed" if KERNEL >= (6, 15) else "crashed"

# How a training ends → the status that every tracker must show.
ENDINGS: dict[str, tuple[dict[str, Any], str]] = {
    "ends": ({}, "finished"),
    "raises": ({"ending": "raises"}, "failed"),
    "raises, without `with`": ({"ending": "raises", "without_with": True}, "failed"),
    "is interrupted": ({"ending": "interrupted"}, "killed"),
    "is interrupted, without `with`": ({"ending": "interrupted", "without_with": True}, "killed"),
    "gets SIGTERM": ({"ending": "SIGTERM"}, TOLD_TO_GO),
    "gets SIGKILL": ({"ending": "SIGKILL"}, "crashed"),
    "sys.exit(3)": ({"ending": "sys.exit(3)"}, "failed"),
    "sys.exit(3), without `with`": ({"ending": "sys.exit(3)", "without_with": True}, "failed"),
    "sys.exit(0), without `with`": ({"ending": "sys.exit(0)", "without_with": True}, "finished"),
    "os._exit(3)": ({"ending": "os._exit(3)"}, "crashed"),
    "stops early": ({"steps": 25}, "finished"),
    "forks DataLoader workers": ({"workers": "fork"}, "finished"),
    "spawns DataLoader workers": ({"workers": "spawn"}, "finished"),
    "logs from 4 threads": ({"log_threads": True}, "finished"),
}
WITH_SDKS = (
    "ends",
    "raises",
    "is interrupted",
    "gets SIGTERM",
    "gets SIGKILL",
    "sys.exit(3), without `with`",
    "os._exit(3)",
)
FAST = ("gets SIGTERM",)
OF_LOADERS = ("threads", "kernel threads", "signals")  # what workers change, at a moment of their own
KILLS, KILLS_A_TRIAL = 50, 5


def trials() -> list[Trial]:
    """List what a training may do."""
    found = [
        make_trial(name, "its end", FILE, functools.partial(end, name, FILE), fast=name in FAST) for name in ENDINGS
    ]
    found += [make_trial(name, "its end", SDKS, functools.partial(end, name, SDKS)) for name in WITH_SDKS]
    found.append(make_trial("is interrupted twice", "its end", FILE, interrupt_twice))
    found += [
        make_trial(
            f"gets SIGKILL, {KILLS_A_TRIAL} times",
            f"random, seed {seed}",
            FILE,
            functools.partial(kill, seed, KILLS_A_TRIAL),
        )
        for seed in range(KILLS // KILLS_A_TRIAL)
    ]
    found.append(make_trial("gets SIGKILL", "random, seed 50", FILE, functools.partial(kill, 50, 1), fast=True))
    found += [
        make_trial("all is killed, the files are cut", f"random, seed {seed}", FILE, functools.partial(cut, seed))
        for seed in range(5)
    ]
    return found


def make_trial(
    fault: str, moment: str, names: tuple[str, ...], run: Callable[[Trial, Path], Cell], *, fast: bool = False
) -> Trial:
    """Make a trial whose function receives the trial itself."""
    trial = Trial(
        part="training",
        fault=fault,
        moment=moment,
        tracker=", ".join("a file" if name == "memory" else name for name in names),
        fast=fast,
        run=lambda folder: run(trial, folder),
    )
    return trial


def end(name: str, names: tuple[str, ...], trial: Trial, folder: Path) -> Cell:
    """Let a training end in one way, and see whether every tracker says so."""
    plan, status = ENDINGS[name]
    base = scene.baseline(json.dumps(plan))
    try:
        trained = scene.train(folder, {**plan, "init": {"report_to": list(names), "id": "run"}})
        problems = scene.harm(trained, base, OF_LOADERS if "workers" in plan else ())
        wrong, lost, twice = look(trained.run, folder, names, trained.result.get("points", ()), status)
    finally:
        scene.end_leftovers(folder)
    return trial.fill(
        unharmed=not problems,
        lost=lost,
        twice=twice,
        status_right=not wrong,
        exit_s=trained.exit_s,
        note="; ".join(problems + wrong),
    )


def look(
    run: RunDirectory, folder: Path, names: tuple[str, ...], logged: Any, status: str
) -> tuple[list[str], int, int]:
    """Read the trackers as they are once their deliveries have ended, without anyone's help, and again after two syncs."""
    wrong = scene.wait_until_free(run, folder, names)
    scene.until(lambda: not scene.leftovers(folder))
    wrong += [
        f"{name} was {found} before sync" for name, found in scene.statuses(run, names).items() if found != status
    ]
    wrong += scene.deliver(run, folder, names)
    lost = twice = 0
    for name in names:
        reading, precision = scene.read(run, name)
        missing, extra = scene.count(logged, reading.points, precision)
        lost, twice = lost + missing, twice + extra
        if reading.status != status:
            wrong.append(f"{name} is {reading.status}")
    return wrong, lost, twice


def interrupt_twice(trial: Trial, folder: Path) -> Cell:
    """Interrupt a training, and once more while it waits for a tracker that hangs."""
    base = scene.baseline(json.dumps({"ending": "interrupted"}))
    plan = {"ending": "interrupted", "init": {"report_to": ["faulty", "memory"], "id": "run"}}
    variables = {
        "FAULT": "hangs",
        "FAULT_MOMENT": "setup",
        "FAULT_MARK": str(folder / "met"),
        "RUNCAST_CALL_TIMEOUT_S": scene.HANG_S,
    }
    names = ("faulty", "memory")
    try:
        process = scene.start(folder, plan, **variables, RUNCAST_FINISH_TIMEOUT_S="60")
        run = RunDirectory(folder / "runs" / "run")
        scene.until(lambda: run.journal.exists() and last_status(run) == "killed")
        process.send_signal(signal.SIGINT)
        trained = scene.ended(folder, process)
        problems = scene.harm(trained, base)
        if (
            f"runcast sync {folder / 'runs' / 'run'}" not in trained.errors
            and "runcast sync runs/run" not in trained.errors
        ):
            problems.append(f"it did not say how to deliver the rest: {trained.errors[-300:]}")
        wrong = scene.deliver(run, folder, names)
        lost = twice = 0
        for name in names:
            reading, _ = scene.read(run, name)
            missing, extra = scene.count(trained.result["points"], reading.points)
            lost, twice = lost + missing, twice + extra
            if reading.status != "killed":
                wrong.append(f"{name} is {reading.status}")
    finally:
        scene.end_leftovers(folder)
    return trial.fill(
        unharmed=not problems,
        lost=lost,
        twice=twice,
        status_right=not wrong,
        exit_s=trained.exit_s,
        note="; ".join(problems + wrong),
    )


def kill(seed: int, times: int, trial: Trial, folder: Path) -> Cell:
    """Kill trainings at random moments; what `log` had returned for is in the journal, and the journal is in the tracker."""
    chance = random.Random(seed)
    lost = twice = 0
    wrong: list[str] = []
    for number in range(times):
        own = folder / str(number)
        own.mkdir()
        try:
            process = _start_and_wait(own)
            time.sleep(chance.uniform(0.0, 1.5))
            process.kill()
            process.wait()
            run = RunDirectory(own / "runs" / "run")
            status = last_status(run) or "crashed"
            logged, torn = _journal(run)
            acknowledged = _acknowledged(own)
            lost += len(acknowledged - {step for _, _, step in logged})
            found, missing, extra = look(run, own, FILE, logged, status)
            wrong += found
            lost, twice = lost + missing, twice + extra
            if torn:
                wrong.append("a record was torn, although only the process died")
        finally:
            scene.end_leftovers(own)
    return trial.fill(lost=lost, twice=twice, status_right=not wrong, note="; ".join(wrong))


def cut(seed: int, trial: Trial, folder: Path) -> Cell:
    """Kill the training and its deliveries in one moment, and tear the last record of the journal and of the tracker."""
    chance = random.Random(seed)
    try:
        process = _start_and_wait(folder)
        time.sleep(chance.uniform(0.1, 0.7))
        scene.end_leftovers(folder)
        process.wait()
        run = RunDirectory(folder / "runs" / "run")
        _tear(run.journal, chance)
        stored = run.tracker("memory") / "memory.jsonl"
        if stored.exists() and stored.stat().st_size > 200:
            _tear(stored, chance)
        logged, torn = _journal(run)
        wrong = [] if torn == 1 else [f"{torn} torn records were noticed instead of 1"]
        lost = len(_acknowledged(folder) - {step for _, _, step in logged})
        lost = max(0, lost - torn)  # the torn record is counted, and reported
        wrong += scene.deliver(run, folder, FILE)
        reading, _ = scene.read(run, "memory")
        missing, _ = scene.count(logged, reading.points)
        _, twice = scene.count(scene.baseline().result["points"], reading.points)
        if reading.status != "crashed":
            wrong.append(f"memory is {reading.status}")
        state = load_state(run.tracker("memory"))
        if state is None or state.damaged != 1:
            wrong.append(f"the delivery counts {state and state.damaged} damaged records instead of 1")
    finally:
        scene.end_leftovers(folder)
    return trial.fill(lost=lost + missing, twice=twice, status_right=not wrong, note="; ".join(wrong))


def _start_and_wait(folder: Path) -> Any:
    began = folder / "began"
    plan = {"init": {"report_to": list(FILE), "id": "run"}, "began": str(began), "pause_s": 0.02}
    process = scene.start(folder, plan)
    scene.until(began.exists)
    return process


def _journal(run: RunDirectory) -> tuple[list[tuple[str, float, int]], int]:
    """Return the points that the journal holds, and how many of its lines are torn, the last one included."""
    reader = JournalReader(run.journal)
    found = [
        tuple(point[:3])
        for record, _ in iter_records(reader)
        if isinstance(record, Metrics)
        for point in points(record)
    ]
    rest = run.journal.read_bytes()[reader.offset :]
    return found, reader.damaged + bool(rest.strip())  # type: ignore[return-value]


def iter_records(reader: JournalReader) -> Any:
    """Yield every record."""
    while batch := reader.read():
        yield from batch


def _acknowledged(folder: Path) -> set[int]:
    return {int(line) for line in (folder / "acknowledged").read_text().split("\n")[:-1]}


def _tear(path: Path, chance: random.Random) -> None:
    data = path.read_bytes().rstrip(b"\n")
    last = data.rindex(b"\n") + 1
    path.write_bytes(data[: chance.randrange(last + 1, len(data))])
