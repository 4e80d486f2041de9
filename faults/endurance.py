"""Endurance: ten million points at full speed, and steady logging; what they cost stays flat, and nothing is lost.

RUNCAST_ENDURANCE_POINTS and RUNCAST_ENDURANCE_S choose how long. Ten million points are in the journal within minutes;
the slower trackers need hours to show so many, which is theirs. So the one trial looks at the training, its journal and
the trackers that can, and the other, of fewer points, waits until every tracker has all of them.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from faults.cell import Cell, Trial
from faults.laboratory import Laboratory, couriers_below
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "faults" / "train_endurance.py"
PART = "endurance"
POINTS = int(os.environ.get("RUNCAST_ENDURANCE_POINTS", 10_000_000))
STEADY_S = int(os.environ.get("RUNCAST_ENDURANCE_S", 600))
FAST = ("tensorboard", "dvclive", "clearml")  # take ten million points in minutes
RATE = 100  # points a second
GROWTH_MIB = 16.0  # that the training process may grow by after the first slice: allocators keep a little
SLOWER = 2.0  # that the last slices may be, on a machine that is shared
TIMEOUT_S = 7200


def trials() -> Iterator[Trial]:
    """List both trials."""
    first = ",".join(name for name, row in TABLE.items() if row.extra == "all")
    fast, steady = f"{POINTS:,} points", f"{RATE} points a second for {STEADY_S} s"
    yield _trial(f"{fast} at full speed", first, POINTS, 0, waits=False)
    yield _trial(steady, first, RATE * STEADY_S, RATE, waits=True)


def _trial(fault: str, trackers: str, points: int, rate: int, *, waits: bool) -> Trial:
    def run(folder: Path) -> Cell:
        told = train(folder, trackers, points, rate, finish_s=600 if waits else 5)
        directory = RunDirectory(folder / "runs" / "endurance")
        logged, damaged = in_journal(directory)
        costs, sizes = flatness(told["slices"])
        note = (
            f"{told['points']:,} points in {told['logging_s']:.0f} s; log {costs}; training process {sizes}; "
            f"deliveries at most {largest(told['slices']):.0f} MiB; {damaged} damaged lines"
        )
        is_flat = flat(told["slices"])
        names = None if waits else FAST
        with mock.patch.dict(os.environ, RUNCAST_CALL_TIMEOUT_S=str(TIMEOUT_S)):  # reading ten million takes minutes
            sync(directory, names, decide=decide)
            verdicts = verify(directory, names)
        problems = "; ".join(f"{each.name}: {', '.join(each.problems())}" for each in verdicts if each.problems())
        return trial.fill(
            unharmed=is_flat,
            lost=told["points"] - logged + damaged + sum(each.missing + each.waiting for each in verdicts),
            twice=sum(each.twice for each in verdicts),
            status_right=not problems,
            exit_s=told["exit_s"],
            note=f"{note}; {problems or 'verify is clean'}",
        )

    trial = Trial(part=PART, fault=fault, moment="all the time", tracker="all seven", fast=False, run=run)
    return trial


def train(folder: Path, trackers: str, points: int, rate: int, *, finish_s: float) -> dict[str, Any]:
    """Run the training; end the deliveries, which would run for hours: their work is in the journal."""
    command = [sys.executable, str(SCRIPT), str(folder), trackers, str(points), str(rate), str(finish_s)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout)
    for courier in couriers_below(folder):
        Laboratory.kill(courier.pid)
    return told


def in_journal(directory: RunDirectory) -> tuple[int, int]:
    """Count the training's points in the journal, and the lines that are none."""
    reader = JournalReader(directory.journal)
    logged = sum(len(record.values) for record in reader if isinstance(record, Metrics) and record.by is None)
    return logged, reader.damaged


def flat(slices: list[dict[str, Any]]) -> bool:
    """Tell whether neither the cost of a call nor the memory of the training process grows."""
    first, last = (statistics.median(each["log_us"] for each in part) for part in (slices[1:6], slices[-5:]))
    return last <= SLOWER * first and slices[-1]["rss_mib"] - slices[1]["rss_mib"] <= GROWTH_MIB


def flatness(slices: list[dict[str, Any]]) -> tuple[str, str]:
    """Say how both went from the beginning to the end."""
    cost = f"{slices[1]['log_us']:.1f} → {slices[-1]['log_us']:.1f} µs (p99 {slices[-1]['p99_us']:.0f})"
    return cost, f"{slices[1]['rss_mib']:.1f} → {slices[-1]['rss_mib']:.1f} MiB"


def largest(slices: list[dict[str, Any]]) -> float:
    """Return the most memory that a delivery process had, in MiB."""
    return max((size for each in slices for size in each["deliveries_mib"].values()), default=0.0)
