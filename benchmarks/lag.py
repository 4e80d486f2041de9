"""How long until a point is visible: with free processors, and with all of them kept busy."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import interleaved, run_child
from benchmarks.report import Answer, Budget, Table
from benchmarks.sources import SEVEN

FREE, TRAINING, NEIGHBOUR = "processors are free", "training keeps all busy", "two neighbours per processor"
PAUSE_S, LOOK_S = 0.02, 0.1


def measure(quick: bool) -> Answer:
    """Log every 20 ms and follow how far each delivery is, under three kinds of load."""
    seconds = 45.0 if quick else 150.0
    subjects: dict[str, Any] = {
        name: lambda number, busy=busy: run_child(
            "benchmarks.lag:watch", busy=busy[0], apart=busy[1], seconds=seconds, report_to=SEVEN
        )
        for name, busy in {FREE: (0, False), TRAINING: (1, False), NEIGHBOUR: (2, True)}.items()
    }
    answers, failures = interleaved(subjects, 1)
    table = Table(
        "From log until the tracker has the point, seven trackers",
        ("load", "tracker", "first point", "later: median", "95th percentile", "longest"),
    )
    budgets = []
    for name in subjects:
        firsts, laters = [], []
        for answer in answers[name]:
            for tracker, found in answer.items():
                firsts.append(found["first_s"])
                laters.append(found["p95_s"])
                cells = [f"{found[key]:.1f} s" for key in ("first_s", "median_s", "p95_s", "worst_s")]
                table.rows.append([name, tracker, *cells])
        limits = (5.0, 5.0) if name == FREE else (60.0, 30.0)
        if name != FREE:
            budgets.append(Budget(f"lag, {name}: the first point", max(firsts, default=None), limits[0], "s"))
        budgets.append(Budget(f"lag, {name}: 95th percentile", max(laters, default=None), limits[1], "s"))
    table.rows += [[name, reason, "", "", "", ""] for name, reason in failures.items()]
    return Answer([table], budgets)


def watch(busy: int, apart: bool, seconds: float, report_to: list[str]) -> dict[str, Any]:
    """In a measuring process: log, and note when each delivery has how much.

    Args:
        busy: Busy processes per processor.
        apart: Whether they have sessions of their own, as somebody else's have.
        seconds: How long to log.
        report_to: The trackers.
    """
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=apart)
        for _ in range(busy * (os.cpu_count() or 1))
    ]
    try:
        logged, seen = _follow(seconds, report_to)
    finally:
        for other in others:
            other.kill()
            other.wait()
    return {name: _lags(logged, moments) for name, moments in seen.items()}


def _follow(seconds: float, report_to: list[str]) -> tuple[list[tuple[float, int]], dict[str, list[tuple[float, int]]]]:
    """Return when the journal had how many bytes, and the same for each delivery."""
    import runcast
    from runcast.journal.layout import RunDirectory
    from runcast.journal.reader import journal_size
    from runcast.journal.state import StateFile

    run = runcast.init(project="benchmark", report_to=report_to)
    directory = RunDirectory(run.dir)
    states = {name: StateFile(directory.tracker(name)) for name in report_to}
    logged: list[tuple[float, int]] = []
    seen: dict[str, list[tuple[float, int]]] = {name: [(0.0, 0)] for name in report_to}
    began = looked = time.monotonic()
    while (now := time.monotonic()) - began < seconds:
        run.log({"loss": now}, step=len(logged))
        logged.append((time.monotonic(), journal_size(directory.journal)))
        if now - looked > LOOK_S:
            looked = now
            for name, state in states.items():
                if (cursor := state.load().cursor) > seen[name][-1][1]:
                    seen[name].append((time.monotonic(), cursor))
        time.sleep(PAUSE_S)
    run.finish()
    return logged, seen


def _lags(logged: Sequence[tuple[float, int]], seen: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return the lag of the first point, and of those that were logged after it was visible, in seconds."""
    lags, row, end = [], 0, logged[-1][0]
    for moment, size in logged:
        while row < len(seen) and seen[row][1] < size:
            row += 1
        lags.append((moment, (seen[row][0] if row < len(seen) else end) - moment))
    first = lags[0][1]
    later = sorted(lag for moment, lag in lags if moment > logged[0][0] + first) or [end - logged[0][0]]
    return {
        "first_s": first,
        "median_s": statistics.median(later),
        "p95_s": later[int(0.95 * (len(later) - 1))],
        "worst_s": later[-1],
    }
