"""Does the training process grow while it logs, and how much does the journal take on disk?"""

from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.harness import interleaved, run_child
from benchmarks.report import Answer, Budget, Table, figure
from benchmarks.sources import METRICS, SEVEN

OURS, THEIRS = "runcast, seven trackers", "transformers, seven trackers"
MIB = 2**20
FLAT_MIB = 1.0  # what an allocator may keep without anything having grown


def measure(quick: bool) -> Answer:
    """Log a million points (quick: a hundred thousand) with seven trackers and watch the resident memory."""
    logs, pause_s = (10_000, 0.2) if quick else (100_000, 1.5)
    settings: dict[str, Any] = {"logs": logs, "pause_s": pause_s, "report_to": SEVEN}
    subjects: dict[str, Any] = {
        OURS: lambda number: run_child("benchmarks.memory:fill_journal", **settings),
        THEIRS: lambda number: peers.transformers(number, quick),
    }
    answers, failures = interleaved(subjects, 1)
    points = logs * len(METRICS)
    table = Table(f"Memory of the training process, {points:,} points", ("moment", "figure"))
    growth = None
    for answer in answers[OURS]:
        sizes = answer["rss"]
        growth = (sizes["100 %"] - sizes["10 %"]) / MIB
        slope = growth * MIB / (0.9 * points)
        table.rows = [[f"{OURS}, resident, {moment}", f"{size / MIB:.1f} MiB"] for moment, size in sizes.items()]
        table.rows += [
            [f"{OURS}, growth from 10 % to 100 %", f"{growth:.2f} MiB, {slope:.2f} bytes per point"],
            [
                "journal on disk",
                f"{answer['journal'] / MIB:.1f} MiB, {figure(answer['journal'] / points)} bytes per point",
            ],
        ]
    for answer in answers[THEIRS]:
        table.rows.append([f"{THEIRS}, added by the callbacks", f"{answer['rss_added'] / MIB:.1f} MiB"])
    table.rows += [[name, reason] for name, reason in failures.items()]
    return Answer([table], [Budget(f"memory, {points:,} points: growth after 10 %", growth, FLAT_MIB, "MiB")])


def fill_journal(logs: int, pause_s: float, report_to: list[str]) -> dict[str, Any]:
    """In a measuring process: log, and watch the resident memory."""
    import time

    import psutil

    memory = psutil.Process().memory_info
    rss = {"before import runcast": memory().rss}

    import runcast
    from benchmarks.sources import ten_scalars

    run = runcast.init(project="benchmark", report_to=report_to)
    rss["after runcast.init"] = memory().rss
    for tenth in range(10):
        for step in range(tenth * logs // 10, (tenth + 1) * logs // 10):
            run.log(ten_scalars(step), step)
        time.sleep(pause_s)  # so that what the run does once a second happens too
        if tenth in (0, 4, 9):
            rss[f"{(tenth + 1) * 10} %"] = memory().rss
    return {"rss": rss, "journal": (Path(run.dir) / "journal.jsonl").stat().st_size}
