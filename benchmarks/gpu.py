"""What a GPU sees of the trainers: `python -m benchmarks.gpu [--write docs/benchmarks.md]`.

A launch-bound and a compute-bound model in bf16, with and without compiling, trackers off and on: the time of a step, the
synchronisations in it (counted by the profiler), and the memory, by hand and with each trainer. With ours, a step that
does not log and waits for the GPU is an error. Runs by itself where
there is a GPU; says so and ends with 0 where there is none. `--cpu --tiny` runs the same code anywhere.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.trainer_loops import LOG_STEPS, LOOPS, Work, deep_network, quietly, random_batches

BEGIN, END = "<!-- gpu: begin -->", "<!-- gpu: end -->"
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
READS = "aten::_local_scalar_dense"  # `item()` and its like: the host reads a value, and waits for it
NOTE = (
    "× is the median over the rounds. A wait is a call that synchronises with the GPU, a read is a value that the host "
    "asks the GPU for, both of whatever runs in the process."
)
WARM = 3
PROFILED = 20  # two logs of ten steps are among them


@dataclass
class Size:
    """Says how large a model and its batches are, and whether it is compiled and tracked."""

    name: str
    width: int
    layers: int
    batch: int
    ways: Sequence[tuple[bool, bool]] = ((False, False), (False, True), (True, False), (True, True))


SIZES = (Size("launch-bound", 64, 48, 64), Size("compute-bound", 8192, 6, 8192))
TINY = (
    Size("launch-bound, tiny", 8, 4, 4, ways=[(False, False)]),
    Size("compute-bound, tiny", 16, 2, 8, ways=[(True, True)]),
)


@dataclass
class Block:
    """The result of one training: the mean time of a step, and, if profiled, the counts of each step."""

    step_us: float
    peak_gib: float | None = None
    waits: float | None = None
    reads: float | None = None


def main() -> int:
    """Measure, show, and write the table into a page."""
    arguments = _parse()
    import torch

    if not arguments.cpu and not torch.cuda.is_available():
        print("There is no GPU here, so there is nothing to measure. --cpu --tiny shows that the code runs.")
        return 0
    device = "cpu" if arguments.cpu else "cuda"
    began = time.monotonic()
    rounds, steps = (1, 10) if arguments.tiny else (5, 200)
    backend = "eager" if arguments.tiny else "inductor"
    with quietly():
        sizes = TINY if arguments.tiny else SIZES
        tables = [measure(size, device, rounds, steps, backend) for size in sizes]
    found = report.Report(
        tables,
        [],
        time.strftime("%Y-%m-%d"),
        f"{card(device)}, {report.machine()}",
        report.versions(),
        quick=arguments.tiny,
        took_s=time.monotonic() - began,
    )
    report.show(found, Console(width=max(Console().width, 130)))
    if arguments.write:
        report.write_into(arguments.write, report.markdown(found), BEGIN, END)
    return 0


def measure(size: Size, device: str, rounds: int, steps: int, backend: str) -> report.Table:
    """Train with each in turn, in each way; return the table of one size."""
    table = report.Table(
        f"On a GPU: {size.name}, {size.layers} linear layers of {size.width}, batches of {size.batch}, bf16",
        ("way", "trainer", "step", "× by hand", "waits a step", "reads a step", "memory"),
        notes=[NOTE],
    )
    batches = random_batches(4, size.batch)
    for compiles, tracks in size.ways:
        settings: dict[str, Any] = {"bf16": True, "compile": compiles, "backend": backend, "tracks": tracks}
        work = Work(lambda: deep_network(size.width, size.layers), batches, steps, device, **settings)
        way = f"{'compiled' if compiles else 'eager'}, {'tracked' if tracks else 'no tracker'}"
        table.rows += _rows(way, work, rounds)
    return table


def _rows(way: str, work: Work, rounds: int) -> list[Sequence[str]]:
    blocks: dict[str, list[Block]] = {name: [] for name in LOOPS}
    for number in range(rounds):
        for name in list(LOOPS)[:: -1 if number % 2 else 1]:
            blocks[name].append(timed(name, work))
    rows: list[Sequence[str]] = []
    unwaiting(work)
    for name in LOOPS:
        counted = profiled(name, work)
        times = statistics.median(block.step_us for block in blocks[name])
        pairs = zip(blocks[name], blocks["by hand"], strict=True)
        share = statistics.median(mine.step_us / hand.step_us for mine, hand in pairs)
        memory = blocks[name][-1].peak_gib
        rows.append(
            [
                way,
                name,
                report.duration(times),
                report.ratio(share),
                _figure(counted.waits),
                _figure(counted.reads),
                "–" if memory is None else f"{memory:.2f} GiB",
            ]
        )
    return rows


def timed(name: str, work: Work) -> Block:
    """Train once; time the steps after the first third, which compile and warm up."""
    import torch

    first, seen, clock = max(2, work.steps // 3), 0, [0.0]
    if work.device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen in (first, work.steps):
            if work.device == "cuda":
                torch.cuda.synchronize()
            clock.append(time.perf_counter())

    LOOPS[name](work, tick)
    peak = torch.cuda.max_memory_allocated() / 2**30 if work.device == "cuda" else None
    return Block((clock[-1] - clock[-2]) / (work.steps - first) * 1e6, peak)


def profiled(name: str, work: Work) -> Block:
    """Train once under the profiler; count what waits for the GPU in the steps between the first and the last."""
    import torch
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if work.device == "cuda" else [])]
    profiler = torch.profiler.profile(activities=activities)
    first, seen = 10, 0
    short = Work(**{**vars(work), "steps": first + PROFILED + 1})

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen == first:
            profiler.start()
        if seen == first + PROFILED:
            profiler.stop()

    LOOPS[name](short, tick)
    counts = {event.key: event.count for event in profiler.key_averages()}
    waits = sum(counts.get(key, 0) for key in WAITS) / PROFILED if work.device == "cuda" else None
    if waits is not None:
        waits = max(0.0, waits - 1 / PROFILED)  # the profiler's own, when it stops
    return Block(0.0, None, waits, counts.get(READS, 0) / PROFILED)


def unwaiting(work: Work) -> int:
    """Train once with our Trainer, in which each step that does not log is an error if it waits for the GPU.

    Return how many steps were looked at. The first ones compile and warm up.
    """
    import torch

    seen, looked_at = 0, 0

    def tick() -> None:  # at the end of a step, before it is logged
        nonlocal seen, looked_at
        seen += 1
        logs = work.tracks and seen % LOG_STEPS == 0
        may_wait = logs or not WARM <= seen < work.steps
        looked_at += not may_wait
        if work.device == "cuda":
            torch.cuda.set_sync_debug_mode("default" if may_wait else "error")

    try:
        LOOPS["runcast"](work, tick)
    finally:
        if work.device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return looked_at


def card(device: str) -> str:
    """Name what was measured on."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else "the CPU alone"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Measure the trainers on a GPU.")
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU instead")
    parser.add_argument("--tiny", action="store_true", help="few and small steps: shows that everything runs")
    parser.add_argument("--write", metavar="PAGE", type=Path, help=f"put the table between {BEGIN} and {END} of a page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
