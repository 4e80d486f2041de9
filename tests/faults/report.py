"""The page with both tables: `docs/faults.md`."""

import platform
import time
from collections.abc import Sequence
from importlib import metadata

from tests.faults.cell import Cell
from tests.faults.matrix import summary, verdicts

HEAD = """# What a fault costs

Each row is a fault that was really made, with real processes, a real training and the trackers' own readers.
`make faults` makes them all again and fails if a cell falls short.
{command} writes this page.

Written on {date} by {versions}. {summary}.

* *unharmed*: same exit code, bit-identical weights, step count and random numbers as without any tracker; no thread, no
  import of a tracker, no changed environment, signal handler, hook or logging in the training process; left in time.
* *lost*, *twice*: points (and artifacts) that the tracker lacks, or has more often than they were logged, after the
  fault is gone and `runcast sync` has run twice. transformers has nothing to sync: what is not there is lost.
* *status*: how the run ended, in the tracker's own word.
* *exit*: from the end of the work to the end of the process. runcast's time to finish was set to 3 s. The machine had
  other work, so a second here is not one of an idle machine.
"""
SIDE = """
## Side by side

Left: runcast. Right: transformers, that is its `Trainer` with its own `MLflowCallback` and MLflow itself; the fault is made within
the function of the SDK that the callback calls at that moment. *stuck* stands for a training that had not ended after 60 s.

| fault | moment | runcast: unharmed | lost | twice | status | exit | transformers: unharmed | lost | twice | status | exit | what happened |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""
ALL = """
## Every cell

| part | fault | moment | tracker | unharmed | lost | twice | status | exit |
|---|---|---|---|---|---|---|---|---|
"""
THEIRS = "transformers"


def page(cells: Sequence[Cell], total: int) -> str:
    """Write the page; *total* is how many cells of ours there would be if every trial had been run."""
    ours = [cell for cell in cells if cell.part != THEIRS]
    theirs = [cell for cell in cells if cell.part == THEIRS]
    names = ("torch", "transformers", "mlflow", "wandb", "tensorboard")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    kernel = ".".join(platform.release().split(".")[:2])
    about = f"Python {platform.python_version()} on {platform.system()} {kernel} with {versions}"
    told = summary(ours) + ("" if len(ours) == total else f", of the {total} that there are")
    command = "`python -m tests.faults --peers --markdown docs/faults.md`"
    text = HEAD.format(command=command, date=time.strftime("%Y-%m-%d"), versions=about, summary=told)
    if theirs:
        text += SIDE + "".join(_pair(_find(ours, cell), cell) for cell in theirs)
    short = [f"* {cell.title}: {' '.join(cell.note.split())[:200]}\n" for cell in ours if not cell.holds]
    if short:
        text += "\n## What fell short\n\n" + "".join(short)
    lines = (_line(cell.part, cell.fault, cell.moment, cell.tracker, *verdicts(cell)) for cell in ours)
    return text + ALL + "".join(lines)


def _find(ours: Sequence[Cell], theirs: Cell) -> Cell | None:
    """Find our cell of the same fault: that with the SDK, or with a process, where there are several."""
    same = [cell for cell in ours if (cell.fault, cell.moment) == (theirs.fault, theirs.moment)]
    best = sorted(same, key=lambda cell: (theirs.tracker not in cell.tracker, "process" not in cell.tracker))
    return best[0] if best else None


def _pair(ours: Cell | None, theirs: Cell) -> str:
    mine = verdicts(ours) if ours is not None else ("",) * 5
    stuck = theirs.note.startswith("it never ended")
    yours = ("**stuck**", *verdicts(theirs)[1:]) if stuck else verdicts(theirs)
    return _line(theirs.fault, theirs.moment, *mine, *yours, theirs.note)


def _line(*columns: str) -> str:
    bold = ("**NO**" if column == "NO" else column.replace("|", "\\|").replace("\n", " ") for column in columns)
    return f"| {' | '.join(bold)} |\n"
