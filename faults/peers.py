"""The same faults, as far as they apply, done to transformers' Trainer with its own callbacks and the same SDKs: `python -m faults --peers`.

There is nothing to sync: what a tracker does not have when the training is over is lost. None of this is part of `make faults`.
"""

from pathlib import Path
from typing import Any

from faults import peer_world
from faults.cell import Cell, Trial
from faults.peer_trackers import TABLE
from faults.peer_training import PART, baseline, end_all, harm, judge, zygote

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
# What is done to the other trackers: what does not depend on the SDK is shown with one of them.
SOME_FAULTS = {
    "raises": ("setup", "mid-run", "finish"),
    "hangs": ("setup", "mid-run"),
    "os._exit": ("mid-run",),
    "segfaults": ("mid-run",),
    "reseeds": ("setup",),
}
# How a training ends.
ENDINGS = {
    "ends": None,
    "raises": "raises",
    "is interrupted": "interrupted",
    "gets SIGTERM": "SIGTERM",
    "gets SIGKILL": "SIGKILL",
    "sys.exit(3), without `with`": "sys.exit(3)",
    "os._exit(3)": "os._exit(3)",
}
ATTEMPTS = 3  # a training that hung before its fault was met is repeated: ClearML's Task.init does so now and then
SOME_ENDINGS = ("ends", "raises", "gets SIGKILL", "sys.exit(3), without `with`")


def trials() -> list[Trial]:
    """List the faults and the endings of each tracker, and what a server does."""
    return [*(trial for name in TABLE for trial in _of_tracker(name)), *peer_world.trials()]


def _of_tracker(name: str) -> list[Trial]:
    """List what is done to a tracker, where its callback calls something at that moment."""
    faults = FAULTS if name == "mlflow" else SOME_FAULTS
    moments = {*TABLE[name].places, "interpreter exit"}
    found = [
        _trial(name, fault, moment, {"fault": fault, "moment": moment})
        for fault in faults
        for moment in faults[fault]
        if moment in moments
    ]
    return found + [
        _trial(name, ending, "its end", {"ending": how} if how else {})
        for ending, how in ENDINGS.items()
        if name == "mlflow" or ending in SOME_ENDINGS
    ]


def _trial(name: str, fault: str, moment: str, plan: dict[str, Any]) -> Trial:
    def run(folder: Path) -> Cell:
        base = baseline(folder.parent, plan.get("ending"))
        notes: list[str] = []
        for number in range(ATTEMPTS):
            own = folder / str(number)
            own.mkdir()
            cell = attempt(own, base, notes, is_last=number == ATTEMPTS - 1)
            if cell is not None:
                break
            notes = ["before, it had hung by itself"]
        assert cell is not None
        return cell

    def attempt(folder: Path, base: dict[str, Any], notes: list[str], *, is_last: bool) -> Cell | None:
        trained = None
        try:
            trained = zygote(name).train(folder, plan)
            met = (folder / "met").exists()
            if trained["code"] is None and not met and not is_last:
                return None
            problems = harm(trained, base)
            slower_s = trained["seconds"] - base["seconds"]
            if fault == "takes 5 s" and slower_s > 5:
                problems.append(f"it took {slower_s:.0f} s longer")
            missed = ["the fault was never met"] if "fault" in plan and not met else []
            return judge(trial, name, folder, trained, problems, [*notes, *missed])
        finally:
            end_all(folder, trained)

    trial = Trial(part=PART, fault=fault, moment=moment, tracker=name, fast=False, run=run)
    return trial
