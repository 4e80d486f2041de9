"""What does a log call of ten scalars cost the training thread?"""

from typing import Any

from benchmarks import peers
from benchmarks.harness import Spread, interleaved, run_child, spread
from benchmarks.report import Answer, Budget, Table, duration, ratio
from benchmarks.sources import ACCELERATE, ITSELF, SEVEN

SEVEN_ON, NONE_ON = "runcast, seven trackers", "runcast, no tracker"
TRANSFORMERS = "transformers callbacks, seven trackers"
WORK_MS = 1.0
LIMITS_US = {"row_us": (4, 15), "paced_us": (8, 40)}
HOW = {
    "row_us": "in a row",
    "paced_us": f"{WORK_MS} ms of work between calls",
    "starting_us": "likewise, while the deliveries start",
    "written_us": "likewise, one os.write of the same bytes in place of log",
    "floor_us": "likewise, an empty function in place of log",
}
QUICK_PEERS = ("mlflow", "trackio")


def measure(quick: bool) -> Answer:
    """Time log calls of runcast, of transformers' callbacks, of accelerate, and of each SDK by itself."""
    paced, in_a_row = (200, 2_000) if quick else (10_000, 20_000)

    def runcast(report_to: list[str]) -> Any:
        return run_child("benchmarks.log:call_runcast", report_to=report_to, paced=paced, in_a_row=in_a_row)

    subjects: dict[str, Any] = {
        SEVEN_ON: lambda number: runcast(list(SEVEN)),
        NONE_ON: lambda number: runcast([]),
        TRANSFORMERS: lambda number: peers.transformers(number, quick),
    }
    for name in QUICK_PEERS if quick else ITSELF:
        subjects[f"{name} itself"] = lambda number, name=name: peers.itself(name, number, quick)
    through: dict[str, Any] = {
        f"accelerate, {name}": lambda number, name=name: peers.accelerate(name, number, quick)
        for name in (QUICK_PEERS if quick else ACCELERATE)
    }
    answers, failures = interleaved(subjects, 1 if quick else 2)
    once, failed = interleaved(through, 1)
    answers, failures = answers | once, failures | failed

    found: dict[str, Spread] = {}
    for subject, rounds in answers.items():
        for key, how in HOW.items() if subject in (SEVEN_ON, NONE_ON) else [("times_us", "")]:
            if pooled := [time for answer in rounds for time in answer[key]]:
                found[f"{subject}, {how}" if how else subject] = spread(pooled)
    ours, slow = found.get(f"{SEVEN_ON}, {HOW['row_us']}"), found.get(TRANSFORMERS)
    table = Table(
        "Cost of one log call of ten scalars", ("subject", "median", "mean", "p99", "worst", "median ×", "calls")
    )
    for name, one in found.items():
        cells = [duration(value) for value in one[:4]]
        table.rows.append([name, *cells, ratio(one.median / ours.median) if ours else "–", f"{one.calls:,}"])
    table.rows += [[name, reason, "", "", "", "", ""] for name, reason in failures.items()]
    table.notes = ["Where nothing else is said the calls came in a row. × counts from runcast with seven trackers."]
    table.notes += _absent(answers[SEVEN_ON])
    budgets = []
    for how, (median, p99) in LIMITS_US.items():
        times = found.get(f"{SEVEN_ON}, {HOW[how]}")
        budgets += [
            Budget(f"log, seven trackers, {HOW[how]}: median", times and times.median, median, "µs"),
            Budget(f"log, seven trackers, {HOW[how]}: p99", times and times.p99, p99, "µs"),
        ]
    for kind in ("median", "mean"):
        factor = getattr(slow, kind) / getattr(ours, kind) if slow and ours else None
        budgets.append(Budget(f"transformers' callbacks / log, in a row: {kind}", factor, 1000, "×", "at least"))
    return Answer([table], budgets)


def _absent(answers: list[Any]) -> list[str]:
    """Name the trackers that did not take part, as a figure for seven is none without them."""
    phases = {name: phase for answer in answers for name, phase in answer["phases"].items() if phase != "delivering"}
    absent = ", ".join(f"{name} ({phase})" for name, phase in phases.items())
    return [f"Not delivering at that time: {absent}."] if absent else []


def call_runcast(report_to: list[str], paced: int, in_a_row: int) -> dict[str, Any]:
    """In a measuring process: log in a row and between pieces of work, also before the deliveries are ready."""
    import os

    import runcast
    from benchmarks.sources import wait_until_settled
    from benchmarks.timing import busy_work, time_calls

    work = busy_work(WORK_MS)
    run = runcast.init(project="benchmark", report_to=report_to)
    starting = time_calls(run.log, paced // 3, work) if report_to else []
    phases = wait_until_settled(run)
    between = time_calls(run.log, paced, work, first=paced)
    wait_until_settled(run)
    in_row = time_calls(run.log, in_a_row, first=2 * paced)
    written, floor = [], []
    if not report_to:
        record = (run.dir / "journal.jsonl").read_bytes().splitlines(keepends=True)[-1]
        file = os.open(run.dir / "floor", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        written = time_calls(lambda values, step: os.write(file, record), paced // 3, work)
        floor = time_calls(lambda values, step: None, paced // 3, work)
    times = {"starting_us": starting, "paced_us": between, "row_us": in_row, "written_us": written, "floor_us": floor}
    return {"phases": phases, **times}
