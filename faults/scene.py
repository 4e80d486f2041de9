"""The steps of every trial: train, remove the fault, `runcast sync` twice, read the trackers back, compare."""

import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psutil

from runcast.delivery.lock import is_held
from runcast.delivery.recovery import identity
from runcast.integrations.contract import Point, Reading
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state
from runcast.testing import MemoryTracker

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PLUGINS = HERE / "plugins"
FILES = ("memory", "faulty")  # the trackers that keep a run in a plain file
FINISH_S = 3.0
SLACK_S = 30.0  # how much longer leaving may take on a machine that has other things to do; one that waits for a tracker takes for ever
FREE_S = 600.0  # how long a delivery may take to end by itself: it has the lowest priority, and the machine may be busy
HANG_S = (
    "20"  # how long a call may take where one hangs; a delivery has the lowest priority, and other work may be urgent
)
MARKER = "FAULT_TRIAL"  # in the environment of every process that a trial has started, so that it finds those left over

SETTINGS = {
    "RUNCAST_FINISH_TIMEOUT_S": str(FINISH_S),
    "RUNCAST_CALL_TIMEOUT_S": "120",  # importing an SDK is a call, too
    "RUNCAST_LINGER_S": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
}


@dataclass
class Trained:
    """The result of a training."""

    folder: Path
    code: int
    result: dict[str, Any]
    errors: str
    exit_s: float | None
    problems: list[str] = field(default_factory=list)

    @property
    def run(self) -> RunDirectory:
        """Return the run's folder."""
        return RunDirectory(
            Path(self.result["run"]) if "run" in self.result else next((self.folder / "runs").iterdir())
        )


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of a trial's processes."""
    paths = os.pathsep.join((str(ROOT), str(PLUGINS)))
    return {**os.environ, **SETTINGS, "PYTHONPATH": paths, MARKER: str(folder), **more}


def start(
    folder: Path, plan: Mapping[str, Any], script: str = "train.py", **variables: str
) -> "subprocess.Popen[bytes]":
    """Start a training in a folder."""
    (folder / "plan.json").write_text(json.dumps(plan))
    with open(folder / "output.txt", "ab") as output:
        return subprocess.Popen(
            [sys.executable, str(HERE / script), str(folder / "plan.json")],
            cwd=folder,
            env=environment(folder, **variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


def ended(folder: Path, process: "subprocess.Popen[bytes]", timeout_s: float = 120.0) -> Trained:
    """Wait for a training and gather what it left; one that does not end is ended, and has a problem."""
    problems = []
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
        problems.append(f"the training had not ended after {timeout_s:.0f} s")
    now = time.monotonic()
    file = folder / "result.json"
    result = json.loads(file.read_text()) if file.exists() else {}
    errors = (folder / "output.txt").read_bytes()[-20_000:].decode(errors="replace")
    return Trained(folder, code, result, errors, now - result["done"] if "done" in result else None, problems)


def train(folder: Path, plan: Mapping[str, Any], script: str = "train.py", **variables: str) -> Trained:
    """Train to the end."""
    return ended(folder, start(folder, plan, script, **variables))


_first = threading.Lock()


def baseline(plan: str = "{}") -> Trained:
    """Return what the same training is without any tracker; it is trained once."""
    with _first:
        return _baseline(plan)


@functools.cache
def _baseline(plan: str) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        return train(Path(folder), {**json.loads(plan), "init": {"report_to": "none"}})


def harm(trained: Trained, base: Trained, without: Collection[str] = ()) -> list[str]:
    """List in what a training differs from the one without trackers, *without* some of what `fingerprint` looks at."""
    result, problems = trained.result, list(trained.problems)
    if trained.code != base.code:
        problems.append(f"exit code {trained.code} instead of {base.code}: {trained.errors[-600:]}")
    problems += [
        f"other {name}" for name in ("weights", "steps", "random") if result.get(name) != base.result.get(name)
    ]
    changes = changed(result) - changed(base.result) - set(without)
    problems += [f"changed {name}" for name in sorted(changes)]
    if trained.exit_s is not None and trained.exit_s > FINISH_S + SLACK_S:
        problems.append(f"leaving took {trained.exit_s:.1f} s")
    return problems


def changed(result: Mapping[str, Any]) -> set[str]:
    """Name what is not as it was before the run began, when its work was done or when it had been finished."""
    before = result.get("before", {})
    moments = [result[moment] for moment in ("after", "end") if moment in result]
    return {name for name in before for now in moments if before[name] != now[name]}


def wait_until_free(run: RunDirectory, folder: Path, names: Iterable[str], timeout_s: float = FREE_S) -> list[str]:
    """Wait until no process delivers to a tracker any more, or is about to; return those for which that did not come true."""
    deadline = time.monotonic() + timeout_s
    busy = list(names)
    while busy and time.monotonic() < deadline:
        is_deserted = not leftovers(folder)
        busy = [name for name in busy if is_held(run.tracker(name)) or not (is_deserted or _has_ended(run, name))]
        time.sleep(0.1 if busy else 0)
    return [f"the delivery to {name} never ended" for name in busy]


def _has_ended(run: RunDirectory, name: str) -> bool:
    state = load_state(run.tracker(name))
    return state is not None and state.phase in ("finished", "refused", "suspended")


def sync(run: RunDirectory, folder: Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run `runcast sync` on a run, with as much time as it has by default."""
    command = [sys.executable, "-m", "runcast", "sync", str(run.path.resolve())]
    return subprocess.run(
        command, cwd=cwd or folder, env=environment(folder), capture_output=True, text=True, timeout=400, check=False
    )


def deliver(run: RunDirectory, folder: Path, names: Iterable[str]) -> list[str]:
    """Let what is left be delivered, twice, the second time from another directory; return what went wrong."""
    problems = wait_until_free(run, folder, names)
    for cwd in (folder, Path("/")):
        done = sync(run, folder, cwd)
        if done.returncode:
            problems.append(f"sync: {done.stdout[-800:]} {done.stderr[-400:]}")
    return problems


def read(run: RunDirectory, name: str) -> tuple[Reading, str]:
    """Read what a tracker has, with its own reader, and how exactly it keeps numbers; an SDK in a process of its own."""
    if name in FILES:
        reader = type("Reader", (MemoryTracker,), {"name": name})
        return reader.reading_of(run.path), "float64"
    command = [sys.executable, "-m", "faults.reading", str(run.path.resolve()), name]
    done = subprocess.run(command, cwd=ROOT, env=environment(run.path), capture_output=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} could not be read: {done.stderr.decode()[-600:]}")
    return msgspec.json.decode(done.stdout, type=tuple[Reading, str])


def statuses(run: RunDirectory, names: Iterable[str]) -> dict[str, str | None]:
    """Return what each tracker says of the run's end; None if it does not know the run."""
    found = {}
    for name in names:
        try:
            found[name] = read(run, name)[0].status
        except RuntimeError:
            found[name] = None
    return found


def until(condition: Callable[[], object], timeout_s: float = FREE_S) -> None:
    """Wait for another process.

    Raises:
        TimeoutError: It did not come true.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what another process should do did not come in time")
        time.sleep(0.005)


def count(logged: Iterable[Sequence[Any]], found: Iterable[Point], precision: str = "float64") -> tuple[int, int]:
    """Count the points that were logged and not found, and those that were found more often than they were logged."""
    expected = Counter(identity(Point(*point), precision) for point in logged)
    have = Counter(identity(point, precision) for point in found)
    return (expected - have).total(), (have - expected).total()


def leftovers(folder: Path) -> list[psutil.Process]:
    """List what a trial's processes have left running, known by its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_leftovers(folder: Path) -> None:
    """End what a trial's processes have left running, all at the same moment."""
    for process in leftovers(folder):
        with contextlib.suppress(psutil.Error):
            process.kill()
