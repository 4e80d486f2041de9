"""How fast does a journal reach each tracker, against the tracker's own API called as its documentation shows?

Both sides carry the same points, both clocks start when the run is open, and both stop when it is closed: a call that
only puts points into an SDK's queue has not delivered them. The time until the last call returned is shown beside it.
"""

from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.harness import interleaved, median_of, run_child
from benchmarks.report import Answer, Budget, Table, figure, ratio
from benchmarks.sources import METRICS, SEVEN

TRACKERS = tuple(name for name in SEVEN if name != "codecarbon")
LIMITS = {name: 10.0 if name in ("mlflow", "dvclive") else 1.0 for name in TRACKERS}
COLUMNS = (
    "tracker",
    "points",
    *(f"{who}, {until}" for until in ("calls", "closed") for who in ("itself", "runcast", "×")),
    "bytes per point",
)
UNCLOSED = f"{{}} itself had not closed its run after {peers.CLOSE_S:.0f} s: its rate until then is too good."
NO_CODECARBON = "CodeCarbon is left out: it takes no metrics, it makes them."


def measure(quick: bool) -> Answer:
    """Deliver a finished journal to each tracker, and log the same points with each SDK by itself."""

    def deliver(name: str) -> Any:
        return run_child(
            "benchmarks.delivery:deliver_journal", timeout_s=180, name=name, logs=peers.logs_of(name, quick)
        )

    subjects: dict[str, Any] = {}
    for name in TRACKERS:
        subjects[f"{name}, delivered by runcast"] = lambda number, name=name: deliver(name)
        subjects[f"{name} itself"] = lambda number, name=name: peers.itself(name, number, quick)
    answers, failures = interleaved(subjects, 1 if quick else 2)

    table = Table("Delivery, in points per second", COLUMNS, notes=[NO_CODECARBON])
    budgets = []
    for name in TRACKERS:
        points = peers.logs_of(name, quick) * len(METRICS)
        theirs, ours = answers[f"{name} itself"], answers[f"{name}, delivered by runcast"]
        row = [name, f"{points:,}"]
        closed = None
        for key in ("calls_s", "closed_s"):
            rates = [points / median_of(side, key) if side else None for side in (theirs, ours)]
            closed = rates[1] / rates[0] if rates[0] and rates[1] else None
            row += [*(figure(rate) if rate else "–" for rate in rates), ratio(closed) if closed else "–"]
        table.rows.append([*row, figure(median_of(ours, "size") / points) if ours else "–"])
        table.notes += [UNCLOSED.format(name) for answer in theirs[:1] if not answer["closed"]]
        what = f"delivery / own API, {name}: points per second, until closed"
        budgets.append(Budget(what, closed, LIMITS[name], "×", "at least"))
    table.notes += [f"{name}: {reason}." for name, reason in failures.items()]
    return Answer([table], budgets)


def deliver_journal(name: str, logs: int) -> dict[str, Any]:
    """In a measuring process: write a journal, then deliver it with the loop of the delivery process, under a clock."""
    import time

    import runcast
    from benchmarks.sources import ten_scalars
    from runcast.delivery.loop import Delivery
    from runcast.delivery.tracked import tracked_run
    from runcast.integrations.loading import load_tracker
    from runcast.journal.layout import RunDirectory

    with runcast.init(project="benchmark", report_to=[name], delivery="later") as run:
        for step in range(logs):
            run.log(ten_scalars(step), step)
    directory = RunDirectory(Path(run.dir))
    file = directory.load()
    choice = file.trackers[name]
    tracker = load_tracker(choice.tracker, choice.environment)()
    moments: dict[str, float] = {}

    def timed(method: str) -> Any:
        call = getattr(tracker, method)

        def wrapper(*arguments: Any) -> Any:
            answer = call(*arguments)
            moments[method] = time.perf_counter()
            return answer

        return wrapper

    for method in ("setup", "flush", "finish"):
        setattr(tracker, method, timed(method))
    tracked = tracked_run(directory, file, name, choice)
    delivery = Delivery(directory, name, tracker, tracked, alive=lambda: False, wait=time.sleep, follow=False)
    state = delivery.run()
    expected = logs * len(METRICS)
    if state.phase != "finished" or state.points != expected or state.refused:
        raise RuntimeError(
            f"{name}: {state.phase}, {state.points} of {expected} points, refused {state.refused}, error {state.error}"
        )
    return {
        "calls_s": moments["flush"] - moments["setup"],
        "closed_s": moments["finish"] - moments["setup"],
        "size": _size(directory.path.parent) - _size(directory.journal),
    }


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())
