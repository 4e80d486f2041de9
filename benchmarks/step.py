"""What does logging in every step cost the training step?"""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import peers
from benchmarks.harness import interleaved, run_child, spread
from benchmarks.peers import STEPS_MS
from benchmarks.report import Answer, Budget, Table, duration, ratio
from benchmarks.sources import SEVEN

SMALL, BIG = STEPS_MS
LIMITS = {SMALL: 1.05, BIG: 1.01}
STEADY = 1.25
SUBJECTS: dict[str, tuple[float, Sequence[str]]] = {
    f"runcast, seven trackers, {SMALL} ms": (SMALL, SEVEN),
    f"runcast, seven trackers, {BIG} ms": (BIG, SEVEN),
    **{
        f"runcast, a tracker that {fault}s, {size} ms": (size, [f"benchmarks.dead:{tracker}"])
        for fault, tracker in (("hang", "HangingTracker"), ("raise", "RaisingTracker"))
        for size in STEPS_MS
    },
}
Blocks = Sequence[dict[str, list[float]]]


def measure(quick: bool) -> Answer:
    """Time training steps with and without logging, in alternating blocks of one process."""

    def runcast(size: float, report_to: Sequence[str]) -> Any:
        pairs, block_s = (1, 0.5) if quick else (6, 2.0) if len(report_to) > 1 or size == BIG else (4, 1.0)
        startup_s = 0.0 if len(report_to) == 1 else 1.0 if quick else 30.0
        times: dict[str, Any] = {"pairs": pairs, "block_s": block_s, "startup_s": startup_s}
        return run_child("benchmarks.step:train", timeout_s=300, size=size, report_to=report_to, **times)

    subjects: dict[str, Any] = {name: lambda number, of=of: runcast(*of) for name, of in SUBJECTS.items()}
    ours, failures = interleaved(subjects, 1)
    theirs, more = interleaved({"transformers": lambda number: peers.transformers(number, quick)}, 1 if quick else 2)
    table = Table(
        "Training step with ten scalars logged in every one",
        ("subject", "without", "with", "medians ×", "means ×", "p99 without", "p99 with"),
        notes=["× is with / without, in each pair of neighbouring blocks; shown is the median over the pairs."],
    )
    starting = Table(
        "The same while the deliveries start",
        ("subject", "before init", "until settled", "medians ×", "means ×", "settled after"),
    )
    budgets = []
    for name, (size, _) in SUBJECTS.items():
        ratios: dict[str, float] = {}
        for answer in ours[name]:
            ratios = _ratios(answer["blocks"])
            table.rows.append(_row(name, answer["blocks"], ratios))
            table.notes += [f"{name}: {word}." for word in answer["absent"]]
            if (drift := _drift(answer["blocks"])) > STEADY:
                table.notes.append(f"{name}: no verdict, as the steps without logging differ {ratio(drift)}-fold.")
                ratios = {}
            if answer["startup_us"]:
                starting.rows.append(_startup(name, answer))
        budgets += [
            Budget(f"step with / without, {name}: {kind}", ratios.get(kind), LIMITS[size], "×")
            for kind in ("medians", "means")
        ]
    for size in STEPS_MS:
        if blocks := [block for answer in theirs["transformers"] for block in answer["blocks"][str(size)]]:
            name = f"transformers callbacks, seven trackers, {size} ms"
            table.rows.append(_row(name, blocks, _ratios(blocks)))
    table.rows += [[name, reason, "", "", "", "", ""] for name, reason in {**failures, **more}.items()]
    return Answer([table, starting], budgets)


def _ratios(blocks: Blocks) -> dict[str, float]:
    reductions: dict[str, Callable[[list[float]], float]] = {"medians": statistics.median, "means": statistics.fmean}
    return {
        kind: statistics.median(reduce(block["with"]) / reduce(block["without"]) for block in blocks)
        for kind, reduce in reductions.items()
    }


def _drift(blocks: Blocks) -> float:
    """Compare the slowest and the fastest block without logging: what else runs on the machine shows here."""
    medians = [statistics.median(block["without"]) for block in blocks]
    return max(medians) / min(medians)


def _row(name: str, blocks: Blocks, ratios: dict[str, float]) -> list[str]:
    off, on = (spread([time for block in blocks for time in block[kind]]) for kind in ("without", "with"))
    times = [duration(off.median), duration(on.median), *(ratio(value) for value in ratios.values())]
    return [name, *times, duration(off.p99), duration(on.p99)]


def _startup(name: str, answer: Any) -> list[str]:
    before, during = spread(answer["before_us"]), spread(answer["startup_us"])
    ratios = ratio(during.median / before.median), ratio(during.mean / before.mean)
    return [name, duration(before.median), duration(during.median), *ratios, f"{answer['settled_s']:.0f} s"]


def train(size: float, report_to: list[str], pairs: int, block_s: float, startup_s: float) -> dict[str, Any]:
    """In a measuring process: train a network without runcast, while the deliveries start, then in alternating blocks.

    Args:
        size: How long a step shall take, in milliseconds.
        report_to: Names of trackers; "module:Class" is a dead one, which never settles.
        pairs: How many blocks with and without logging.
        block_s: How long one lasts, in seconds.
        startup_s: How long to watch the start of the deliveries at most, in seconds.
    """
    import importlib
    import time

    import torch  # noqa: F401 - before the clock starts

    import runcast
    from benchmarks.sources import wait_until_settled
    from benchmarks.timing import alternate, time_steps, training_step

    step = training_step(size)
    before = time_steps(step, None, min(5.0, startup_s))
    classes = [word.split(":") for word in report_to if ":" in word]
    dead = [getattr(importlib.import_module(module), kind) for module, kind in classes]
    run = runcast.init(project="benchmark", report_to=dead or report_to)
    opened = time.perf_counter()
    startup: list[float] = []
    while (left_s := startup_s - (time.perf_counter() - opened)) > 0 and not _has_started(run):
        startup += time_steps(step, run.log, min(0.5, left_s), first=len(startup))
    phases = {} if dead else wait_until_settled(run)
    settled_s = time.perf_counter() - opened
    settle = (lambda: None) if dead else run.flush
    return {
        "before_us": before,
        "startup_us": startup,
        "settled_s": settled_s,
        "absent": [f"{name} is {phase}" for name, phase in phases.items() if phase != "delivering"],
        "blocks": alternate(step, run.log, pairs=pairs, block_s=block_s, first=1_000_000, settle=settle),
    }


def _has_started(run: Any) -> bool:
    return all(tracker.phase != "starting" for tracker in run.statistics().trackers.values())
