"""What a tracker does to the process that it is in: each fault at each moment, beside a tracker that keeps its promises."""

import contextlib
import functools
from pathlib import Path

from faults import scene
from faults.cell import Cell, Trial

FAULTS = (
    "raises",
    "raises no Exception",
    "hangs",
    "hangs with the lock",
    "takes 5 s",
    "os._exit",
    "sys.exit",
    "segfaults",
    "fills memory",
    "writes 8 MB to stderr",
    "reseeds",
    "changes cwd",
    "changes environment",
    "changes signal handlers",
    "changes hooks",
    "changes logging",
    "changes torch",
    "closes streams",
    "leaves threads",
    "forks",
    "forks, both go on",
)
MOMENTS = ("import", "setup", "first log", "mid-run", "artifact", "finish", "interpreter exit")

# What a tracker may do in a thread of the training process without harm; docs/guarantees.md says what it may not.
IN_A_THREAD = ("raises", "raises no Exception", "hangs", "takes 5 s", "sys.exit", "writes 8 MB to stderr", "forks")

FAST = {
    ("hangs", "import", "process"),
    ("segfaults", "mid-run", "process"),
    ("forks, both go on", "mid-run", "process"),
    ("sys.exit", "artifact", "thread"),
}
NAMES = ("faulty", "memory")
COMMAND = "deliver it with: runcast sync runs/run"
SHARED = ("threads", "kernel threads", "trackers")  # what a thread of the training process cannot but change


def trials() -> list[Trial]:
    """List every fault at every moment, delivered by processes, and in threads where that can be survived."""
    cells = [(fault, moment, "process") for fault in FAULTS for moment in MOMENTS]
    cells += [(fault, moment, "thread") for fault in IN_A_THREAD for moment in MOMENTS[:-1]]
    return [
        Trial(
            part="tracker",
            fault=fault,
            moment=moment,
            tracker=f"a file, {delivery}",
            fast=(fault, moment, delivery) in FAST,
            run=functools.partial(run, fault, moment, delivery),
        )
        for fault, moment, delivery in cells
    ]


def run(fault: str, moment: str, delivery: str, folder: Path) -> Cell:
    """Train with a faulty tracker and a good one, remove the fault, sync, and compare."""
    base = scene.baseline()
    mark = folder / "met"
    plan = {
        "init": {"report_to": list(NAMES), "id": "run", "delivery": delivery},
        "wait_for": str(mark) if moment not in ("finish", "interpreter exit") else None,
    }
    try:
        variables = {"FAULT": fault, "FAULT_MOMENT": moment, "FAULT_MARK": str(mark)}
        if fault.startswith("hangs"):
            variables["RUNCAST_CALL_TIMEOUT_S"] = scene.HANG_S
        trained = scene.train(folder, plan, **variables)
        problems = scene.harm(trained, base, () if delivery == "process" else SHARED)
        with contextlib.suppress(TimeoutError):  # what happens at the end may happen when the training has gone
            scene.until(mark.exists, 20)
        wrong = scene.deliver(trained.run, folder, NAMES)
        lost = twice = 0
        for name in NAMES:
            reading, _ = scene.read(trained.run, name)
            missing, extra = scene.count(trained.result.get("points", ()), reading.points)
            lost, twice = lost + missing, twice + extra
            lost += len({"notes.txt", "config.json"} - (reading.artifacts or set()))
            if reading.status != "finished":
                wrong.append(f"{name} is {reading.status}")
        if fault.startswith("hangs") and moment != "interpreter exit" and COMMAND not in trained.errors:
            problems.append(f"it did not say how to deliver the rest: {trained.errors[-400:]}")
        if not mark.exists():
            problems.append(f"the fault was never met: {trained.errors[-400:]}")
    finally:
        scene.end_leftovers(folder)
    return Cell(
        part="tracker",
        fault=fault,
        moment=moment,
        tracker=f"a file, {delivery}",
        unharmed=not problems,
        lost=lost,
        twice=twice,
        status_right=not wrong,
        exit_s=trained.exit_s,
        note="; ".join(problems + wrong),
    )
