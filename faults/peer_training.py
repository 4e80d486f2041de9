"""One training with transformers' own Trainer and its own callback: where it runs, and what became of it."""

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from faults import scene
from faults.cell import Cell, Trial
from faults.peer_trackers import TABLE

PART = "transformers"
BACKGROUND_S = 15.0  # how long what an SDK left in the background may take before its files are read


class Zygote:
    """The process that has imported everything that trainings with one tracker need."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="runcast-zygote-")
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def train(self, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
        """Train in a fork of it."""
        answer = self._tell(folder, {"do": "train", **plan})
        file = folder / "result.json"
        return {**answer, **(json.loads(file.read_text()) if file.exists() else {})}

    def read(self, folder: Path) -> tuple[list[tuple[str, int]], str | None]:
        """Read in a fork of it what the tracker has of a training."""
        answer = self._tell(folder, {"do": "read"})
        if answer["code"] != 0:
            raise RuntimeError(f"{self.name} could not be read: {(folder / 'output.txt').read_text()[-600:]}")
        points, status = json.loads((folder / "found.json").read_text())
        return [(key, step) for key, step in points], status

    def _tell(self, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
        file = folder / f"{plan['do']}.json"
        file.write_text(json.dumps(plan))
        with self._lock:
            if self._process is None:
                self._process = self._start()
                atexit.register(self._stop)
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(f"{file}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(
                f"the zygote of {self.name} has died: {(Path(self._folder.name) / 'stderr.txt').read_text()[-600:]}"
            )
        return dict(json.loads(answer))

    def _stop(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()
            self._folder.cleanup()

    def _start(self) -> "subprocess.Popen[str]":
        folder = Path(self._folder.name)
        variables = TABLE[self.name].environment if self.name in TABLE else {}
        own = {name: value.format(folder=folder) for name, value in variables.items()}
        return subprocess.Popen(
            [sys.executable, str(scene.HERE / "train_peer.py"), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(folder / "stderr.txt", "wb"),
            env=scene.environment(folder, **own),
            text=True,
        )


@functools.cache
def zygote(name: str) -> Zygote:
    """Return the one for a tracker, or for "none"."""
    return Zygote(name)


_first = threading.Lock()


def baseline(root: Path, ending: str | None = None) -> dict[str, Any]:
    """Return what the same training is without any tracker; it is trained once."""
    with _first:
        return _baseline(root, ending)


@functools.cache
def _baseline(root: Path, ending: str | None) -> dict[str, Any]:
    folder = root / f"none-{ending}"
    folder.mkdir()
    return zygote("none").train(folder, {"ending": ending} if ending else {})


def harm(trained: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """List in what a training differs from the one without trackers."""
    if trained["code"] is None:
        return ["it never ended"]
    problems = [] if trained["code"] == base["code"] else [f"exit code {trained['code']} instead of {base['code']}"]
    if "weights" in base and "weights" not in trained:
        return [*problems, "the script never came to its last line"]
    return problems + [
        f"other {name}" for name in ("weights", "steps", "random") if trained.get(name) != base.get(name)
    ]


def judge(
    trial: Trial, name: str, folder: Path, trained: dict[str, Any], problems: list[str], notes: Collection[str] = ()
) -> Cell:
    """Let what was left in the background end, read the tracker, and fill the cell."""
    _wait_for_background(folder, trained["group"])
    found, status = zygote(name).read(folder)
    file = folder / "logged"
    logged = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    expected = Counter(TABLE[name].expects(logged))
    have = Counter(found)
    is_over = trained["code"] is not None or "done" in trained
    has_status = TABLE[name].has_status and is_over
    right = ("finished",) if trained["code"] in (0, None) else ("failed", "killed", "crashed")
    wrong = [f"its status is {status}" if status else "it has no status"] if has_status and status not in right else []
    return trial.fill(
        unharmed=not problems,
        lost=len(expected.keys() - have.keys()),
        twice=sum(max(0, have[point] - expected[point]) for point in expected),
        status_right=not wrong if has_status else None,
        exit_s=trained["left"] - trained["done"] if "done" in trained else None,
        note="; ".join([*problems, *wrong, *notes]),
    )


def end_all(folder: Path, trained: dict[str, Any] | None) -> None:
    """End what a training has left running: what it started, and what it forked."""
    scene.end_leftovers(folder)
    if trained is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(trained["group"], signal.SIGKILL)


def _wait_for_background(folder: Path, group: int) -> None:
    deadline = time.monotonic() + BACKGROUND_S
    while time.monotonic() < deadline and (scene.leftovers(folder) or _is_alive(group)):
        time.sleep(0.1)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
