"""How a training is started: several in one process, again from an older checkpoint, by torchrun on two nodes, strictly, beside a sync."""

import functools
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faults import scene
from faults.cell import Cell, Trial
from faults.training import FILE, SDKS, look, make_trial
from runcast.history.finding import list_runs
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics, points
from runcast.journal.state import load_state

RANKS_A_NODE = 2


def trials() -> list[Trial]:
    """List the ways to start a training."""
    return [
        make_trial("3 trainings in a row", "one process", FILE, functools.partial(several, 3, False, FILE), fast=True),
        make_trial("4 trainings at once", "one process", FILE, functools.partial(several, 4, True, FILE)),
        make_trial("3 trainings in a row", "one process", SDKS, functools.partial(several, 3, False, SDKS)),
        make_trial("resumed with another learning rate", "an older checkpoint", FILE, functools.partial(resume, FILE)),
        make_trial("resumed with another learning rate", "an older checkpoint", SDKS, functools.partial(resume, SDKS)),
        make_trial("torchrun, 4 ranks", "2 simulated nodes", FILE, functools.partial(ranks, FILE)),
        make_trial("torchrun, 4 ranks", "2 simulated nodes", SDKS, functools.partial(ranks, SDKS)),
        make_trial("torchrun, 4 ranks, per_rank", "2 simulated nodes", FILE, functools.partial(every_rank, FILE)),
        make_trial("torchrun, 4 ranks, per_rank", "2 simulated nodes", SDKS, functools.partial(every_rank, SDKS)),
        make_trial("strict=True", "a tracker raises at setup", FILE, strict),
        make_trial("is synced while it trains", "mid-run", FILE, sync_meanwhile),
    ]


def several(count: int, at_once: bool, names: tuple[str, ...], trial: Trial, folder: Path) -> Cell:
    """Train several times in one process: each training has a run of its own, and only its own points are in it."""
    plan = {"count": count, "at_once": at_once}
    base = _without(json.dumps(plan), "train_several.py")
    try:
        trained = scene.train(folder, {**plan, "init": {"report_to": list(names)}}, "train_several.py")
        problems = scene.harm(trained, base)
        runs = trained.result.get("runs", {})
        expected = {name: run["weights"] for name, run in base.result["runs"].items()}
        if {name: run["weights"] for name, run in runs.items()} != expected:
            problems.append("other weights")
        wrong: list[str] = []
        lost = twice = 0
        for name, run in runs.items():
            found, missing, extra = look(RunDirectory(folder / "runs" / name), folder, names, run["points"], "finished")
            wrong, lost, twice = wrong + found, lost + missing, twice + extra
    finally:
        scene.end_leftovers(folder)
    return _fill(trial, problems, wrong, lost, twice, trained.exit_s)


def resume(names: tuple[str, ...], trial: Trial, folder: Path) -> Cell:
    """Kill a training, resume it from the checkpoint before the last with another learning rate: it is the same run everywhere."""
    base = _resumed(None)
    try:
        _, second = _sessions(folder, list(names))
        problems = scene.harm(second, base)
        runs = list_runs(folder / "runs")
        if len(runs) != 1:
            problems.append(f"{len(runs)} runs instead of one")
        told = [line for line in second.errors.splitlines() if "resumed with changed params" in line]
        if len(told) != 1 or "learning_rate" not in told[0]:
            problems.append(f"the changed params were not reported once: {told}")
        wrong, lost, twice = look(runs[0], folder, names, _logged(runs[0]), "finished")
        ids = [state.ids for name in names if (state := load_state(runs[0].tracker(name)))]
        if len(ids) != len(names):
            problems.append("a tracker forgot the run")
    finally:
        scene.end_leftovers(folder)
    return _fill(trial, problems, wrong, lost, twice, second.exit_s)


@functools.cache
def _resumed(names: None) -> scene.Trained:
    with tempfile.TemporaryDirectory() as folder:
        return _sessions(Path(folder), "none")[1]


def _sessions(folder: Path, report_to: Any) -> tuple[scene.Trained, scene.Trained]:
    common = {"init": {"report_to": report_to}}
    first = scene.train(folder, {**common, "lr": 0.01, "kill_at": 35}, "train_resumed.py")
    second = scene.train(folder, {**common, "lr": 0.005, "resume_from": "out/checkpoint-20"}, "train_resumed.py")
    return first, second


def ranks(names: tuple[str, ...], trial: Trial, folder: Path, *, per_rank: bool = False) -> Cell:
    """Start four ranks on two nodes: there is one run, and each of its points is there once."""
    without = folder / "without"
    without.mkdir()
    try:
        _, base = _torchrun(without, "none", per_rank=False)
        codes, results = _torchrun(folder, list(names), per_rank=per_rank)
        problems = [] if codes == [0, 0] else [f"exit codes {codes}: {(folder / 'output.txt').read_text()[-600:]}"]
        if [result["weights"] for result in results] != [result["weights"] for result in base]:
            problems.append("other weights")
        runs = list_runs(folder / "runs")
        if len(runs) != 1:
            problems.append(f"{len(runs)} runs instead of one")
        wrong, lost, twice = look(runs[0], folder, names, _of_all(results if per_rank else results[:1]), "finished")
        exit_s = max(result["left"] - result["done"] for result in results)
        if exit_s > scene.FINISH_S + scene.SLACK_S:
            problems.append(f"leaving took {exit_s:.1f} s")
    finally:
        scene.end_leftovers(folder)
    return _fill(trial, problems, wrong, lost, twice, exit_s)


def every_rank(names: tuple[str, ...], trial: Trial, folder: Path) -> Cell:
    """Start four ranks on two nodes that are all kept: each point of each rank is in the one run once."""
    return ranks(names, trial, folder, per_rank=True)


def _of_all(results: list[dict[str, Any]]) -> list[tuple[str, float, int]]:
    return [
        (f"rank{rank}/{key}" if rank else key, value, step)
        for rank, result in enumerate(results)
        for key, value, step in result["points"]
    ]


def _torchrun(folder: Path, report_to: Any, *, per_rank: bool) -> tuple[list[int], list[dict[str, Any]]]:
    (folder / "plan.json").write_text(json.dumps({"init": {"report_to": report_to, "per_rank": per_rank}}))
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    nodes = []
    for node in range(2):
        where = ["--nnodes=2", f"--node-rank={node}", f"--nproc-per-node={RANKS_A_NODE}", "--master-addr=127.0.0.1"]
        command = [sys.executable, "-m", "torch.distributed.run", *where, f"--master-port={port}"]
        with open(folder / "output.txt", "ab") as output:
            nodes.append(
                subprocess.Popen(
                    [*command, str(scene.HERE / "train_ranks.py"), str(folder / "plan.json")],
                    cwd=folder,
                    env=scene.environment(folder, RUNCAST_QUIET="1"),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )
    codes = [node.wait(180) for node in nodes]
    files = [folder / f"result-{rank}.json" for rank in range(2 * RANKS_A_NODE)]
    return codes, [json.loads(file.read_text()) for file in files if file.exists()]


def strict(trial: Trial, folder: Path) -> Cell:
    """Train strictly with a tracker that raises: `init` or a `log` raises what it raised, with its traceback, and the other has all."""
    plan = {"init": {"report_to": ["faulty", "memory"], "id": "run", "strict": True}, "steps": 2000, "pause_s": 0.02}
    variables = {"FAULT": "raises", "FAULT_MOMENT": "setup", "FAULT_MARK": str(folder / "met")}
    try:
        trained = scene.train(folder, plan, **variables)
        problems = [] if trained.code == 1 else [f"exit code {trained.code}"]
        expected = ("ZeroDivisionError: in the SDK", "runcast_faulty.py", "in setup", "run.log(")
        problems += [f"{text!r} is not in what was raised" for text in expected if text not in trained.errors]
        logged = _logged(trained.run)
        wrong, lost, twice = look(trained.run, folder, FILE, logged, "failed")
    finally:
        scene.end_leftovers(folder)
    return _fill(trial, problems, wrong, lost, twice, None)


def sync_meanwhile(trial: Trial, folder: Path) -> Cell:
    """Sync a run three times while it trains: nothing comes twice, nothing is closed."""
    base = scene.baseline()
    began = folder / "began"
    plan = {
        "init": {"report_to": list(FILE), "id": "run"},
        "began": str(began),
        "wait_for": str(folder / "synced"),
        "pause_s": 0.02,
    }
    try:
        process = scene.start(folder, plan)
        scene.until(began.exists)
        run = RunDirectory(folder / "runs" / "run")
        for cwd in (folder, Path("/"), folder):
            scene.sync(run, folder, cwd)
            time.sleep(0.1)
        (folder / "synced").touch()
        trained = scene.ended(folder, process)
        problems = scene.harm(trained, base)
        wrong, lost, twice = look(run, folder, FILE, trained.result.get("points", ()), "finished")
    finally:
        scene.end_leftovers(folder)
    return _fill(trial, problems, wrong, lost, twice, trained.exit_s)


def _logged(run: RunDirectory) -> list[tuple[Any, ...]]:
    records = JournalReader(run.journal)
    return [tuple(point[:3]) for record in records if isinstance(record, Metrics) for point in points(record)]


@functools.cache
def _without(plan: str, script: str) -> scene.Trained:
    with tempfile.TemporaryDirectory() as folder:
        return scene.train(Path(folder), {**json.loads(plan), "init": {"report_to": "none"}}, script)


def _fill(trial: Trial, problems: list[str], wrong: list[str], lost: int, twice: int, exit_s: float | None) -> Cell:
    note = "; ".join(problems + wrong)
    return trial.fill(unharmed=not problems, lost=lost, twice=twice, status_right=not wrong, exit_s=exit_s, note=note)
