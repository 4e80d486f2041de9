"""The same faults, as far as they apply, done to transformers' Trainer with its own callback for MLflow: `python -m tests.faults --peers`.

There is nothing to sync: what its tracker does not have when the training is over is lost. None of this is part of `make faults`.
"""

import atexit
import functools
import json
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults import scene
from tests.faults.cell import Cell, Trial

FAULTS = {
    "raises": ("setup", "first log", "mid-run", "finish"),
    "raises no Exception": ("mid-run",),
    "hangs": ("setup", "mid-run", "finish", "interpreter exit"),
    "hangs with the lock": ("mid-run",),
    "takes 5 s": ("mid-run",),
    "os._exit": ("setup", "mid-run", "finish"),
    "sys.exit": ("mid-run", "finish"),
    "segfaults": ("setup", "mid-run", "finish"),
    "fills memory": ("mid-run",),
    "writes 8 MB to stderr": ("mid-run",),
    "reseeds": ("setup", "mid-run"),
    "changes cwd": ("mid-run",),
    "changes environment": ("mid-run",),
    "changes signal handlers": ("mid-run",),
    "changes hooks": ("mid-run",),
    "changes logging": ("mid-run",),
    "changes torch": ("setup",),
    "closes streams": ("mid-run",),
    "leaves threads": ("setup",),
    "forks": ("mid-run",),
    "forks, both go on": ("mid-run",),
}
# Which of MLflow's words are right; it has none for a process that disappeared.
ENDINGS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "ends": (None, ("FINISHED",)),
    "raises": ("raises", ("FAILED",)),
    "is interrupted": ("interrupted", ("KILLED", "FAILED")),
    "gets SIGTERM": ("SIGTERM", ("KILLED", "FAILED")),
    "gets SIGKILL": ("SIGKILL", ("KILLED", "FAILED")),
    "sys.exit(3), without `with`": ("sys.exit(3)", ("FAILED",)),
    "os._exit(3)": ("os._exit(3)", ("KILLED", "FAILED")),
}


def trials() -> list[Trial]:
    """List the faults and the endings."""
    faults = [
        (fault, moment, {"fault": fault, "moment": moment}, ("FINISHED",))
        for fault in FAULTS
        for moment in FAULTS[fault]
    ]
    ends = [(name, "its end", {"ending": how} if how else {}, right) for name, (how, right) in ENDINGS.items()]
    return [
        Trial(
            part="transformers",
            fault=fault,
            moment=moment,
            tracker="mlflow",
            fast=False,
            run=functools.partial(run, fault, moment, plan, right),
        )
        for fault, moment, plan, right in (*faults, *ends)
    ]


class _Zygote:
    """Is the process that has imported what every training needs."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None

    def train(self, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
        """Train in a fork of it."""
        (folder / "plan.json").write_text(json.dumps(plan))
        with self.lock:
            if self.process is None:
                self.process = self._start(folder)
                atexit.register(self._stop)
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(f"{folder / 'plan.json'}\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        file = folder / "result.json"
        return {**answer, **(json.loads(file.read_text()) if file.exists() else {})}

    def _stop(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()

    def _start(self, folder: Path) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(scene.HERE / "train_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(folder.parent / "zygote.txt", "wb"),
            env=scene.environment(folder.parent),
            text=True,
        )


ZYGOTE = _Zygote()


@functools.cache
def _without_trackers(root: Path, ending: str | None) -> dict[str, Any]:
    folder = root / f"none-{ending}"
    folder.mkdir()
    return ZYGOTE.train(folder, {"report_to": "none", **({"ending": ending} if ending else {})})


_first = threading.Lock()


def run(fault: str, moment: str, plan: dict[str, Any], right: tuple[str, ...], folder: Path) -> Cell:
    """Train with transformers, and see what its tracker has."""
    try:
        with _first:
            base = _without_trackers(folder.parent, plan.get("ending"))
        trained = ZYGOTE.train(folder, {"report_to": ["mlflow"], **plan})
        problems = [] if trained["code"] == base["code"] else [f"exit code {trained['code']} instead of {base['code']}"]
        problems += [f"other {name}" for name in ("weights", "steps", "random") if trained.get(name) != base.get(name)]
        if trained["code"] is None:
            problems = ["it never ended"]
        slower_s = trained["seconds"] - base["seconds"]
        if plan.get("fault") == "takes 5 s" and slower_s > 5:
            problems.append(f"it took {slower_s:.0f} s longer")
        lost, twice, status = _look(folder)
    finally:
        scene.end_leftovers(folder)
    wrong = [] if status in right else [f"its status is {status}"]
    return Cell(
        part="transformers",
        fault=fault,
        moment=moment,
        tracker="mlflow",
        unharmed=not problems,
        lost=lost,
        twice=twice,
        status_right=not wrong,
        exit_s=trained["left"] - trained["done"] if "done" in trained else None,
        note="; ".join(problems + wrong),
    )


def _look(folder: Path) -> tuple[int, int, str | None]:
    """Count the points that the Trainer logged and MLflow's store lacks, or has twice; return the run's status, too."""
    logged = (
        [json.loads(line) for line in (folder / "logged").read_text().splitlines()]
        if (folder / "logged").exists()
        else []
    )
    expected = Counter((key, step) for step, keys in logged for key in keys)
    store = folder / "mlflow.db"
    if not store.exists():
        return len(expected), 0, None
    with sqlite3.connect(store) as database:
        try:
            found = database.execute("select key, step from metrics").fetchall()
            statuses = database.execute("select status from runs").fetchall()
        except sqlite3.OperationalError:
            return len(expected), 0, None
    twice = (Counter(found) - expected).total()
    return len(set(expected) - set(found)), twice, statuses[0][0] if statuses else None
