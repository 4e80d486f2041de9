"""What the deliveries cost: to start, while nothing happens, per thousand points, and in memory."""

import contextlib
import time
from typing import Any

from benchmarks.harness import interleaved, run_child
from benchmarks.report import Answer, Budget, Table
from benchmarks.sources import METRICS, SEVEN

MIB = 2**20
ALL = "all seven"
CALLS = 2_000


def measure(quick: bool) -> Answer:
    """Measure each delivery with its courier, and all of them together."""
    idle_s = 10.0 if quick else 40.0
    subjects: dict[str, Any] = {
        name: lambda number, names=names: run_child("benchmarks.deliveries:watch", report_to=names, idle_s=idle_s)
        for name, names in {**{name: [name] for name in SEVEN}, ALL: list(SEVEN)}.items()
    }
    answers, failures = interleaved(subjects, 1)
    table = Table(
        "Deliveries, with their courier: processor time and memory",
        ("tracker", "to start", "idle", "per 1,000 points", "resident", "proportional"),
    )
    for name, found in answers.items():
        for one in found:
            table.rows.append(
                [
                    name,
                    f"{one['start_s']:.1f} s",
                    f"{one['idle_percent']:.2f} % of a processor",
                    f"{one['thousand_s'] * 1e3:.0f} ms",
                    f"{one['rss'] / MIB:.0f} MiB",
                    f"{one['pss'] / MIB:.0f} MiB",
                ]
            )
    table.rows += [[name, reason, "", "", "", ""] for name, reason in failures.items()]
    together = answers[ALL][0] if answers[ALL] else {}
    pss = together.get("pss")
    return Answer(
        [table],
        [
            Budget("all seven deliveries: processor time to start", together.get("start_s"), 8, "s"),
            Budget("all seven deliveries: idle", together.get("idle_percent"), 1, "% of a processor"),
            Budget("all seven deliveries: memory, proportional", pss and pss / MIB, 0.45 * 1024, "MiB"),
        ],
    )


def watch(report_to: list[str], idle_s: float) -> dict[str, float]:
    """In a measuring process: start the deliveries, let them wait, give them work."""
    import psutil

    import runcast
    from benchmarks.sources import ten_scalars

    me = psutil.Process()

    def spent_s() -> float:
        """Return the processor time of all descendants, with those that they have waited for."""
        total = 0.0
        for process in me.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    run = runcast.init(project="benchmark", report_to=report_to)
    run.log(ten_scalars(0), 0)
    run.flush(120)
    time.sleep(2.0)  # threads of the SDKs may still be at work
    start_s = spent_s()
    time.sleep(idle_s)
    idle = (spent_s() - start_s) / idle_s * 100
    before_s = spent_s()
    for step in range(1, CALLS + 1):
        run.log(ten_scalars(step), step)
        time.sleep(0.002)
    run.flush(120)
    work_s = spent_s() - before_s
    rss = pss = 0
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            rss, pss = rss + memory.rss, pss + memory.pss
    run.finish()
    return {
        "start_s": start_s,
        "idle_percent": idle,
        "thousand_s": work_s / (CALLS * len(METRICS) / 1000),
        "rss": rss,
        "pss": pss,
    }
