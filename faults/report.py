"""The page with both tables: `docs/faults.md`."""

import platform
import time
from collections.abc import Sequence
from importlib import metadata

from faults.cell import Cell
from faults.matrix import summary, verdicts

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
JOINED = """. They come from several runs (`--cells`), between which the code was still
changing; what a change concerned was run again"""
SIDE = """
## Side by side

The same faults, where they apply, were done to transformers: its `Trainer` with its own callback for a tracker and that tracker's SDK, each tracker
alone. How often each promise was kept there, and by runcast under the same faults:

| | faults | training unharmed | no point lost | no point twice | status right |
|---|---|---|---|---|---|
{totals}
In the table below, runcast is on the left, with the same tracker where the matrix has that cell. Else the fault was done to a tracker that writes a file:
runcast's trackers live in processes of their own, and what an SDK does there is the same whichever it is. transformers is on the right:

* The fault is done within the function of the real SDK that the callback calls at that moment; where that function is guarded against exceptions,
  behind the guard. W&B and Comet finish when the interpreter exits, so their *finish* is there. CodeCarbon's callback calls nothing in mid-run.
* *unharmed* asks less of transformers: exit code, weights, step count and random numbers. *stuck* stands for a training that had not ended after 60 s,
  or 60 s after its server had changed, and was killed then.
* *lost* counts what was logged until the training ended: one that died at its start has lost nothing. The trainings take
  about a second; of a longer one MLflow, which stores in the background, would lose its last moments, and Comet, which archives at the end, all.
* W&B, Comet and ClearML are in their offline mode, and what counts is what their own `sync`, `upload` or import would take: an archive that Comet has not
  made, or a file that W&B has not written, is lost. A fault of a server is one of MLflow's real server, as on the left.
* *status* is right if a run that came to its end is finished, and one that died is failed, killed or crashed. It is - for a training that was stuck, and for
  TensorBoard, DVCLive, CodeCarbon and an offline session of ClearML, which keep no status of transformers' runs.
* ClearML seeds every generator of random numbers when it starts, so the weights are others there without any fault. It also catches SIGSEGV, after which
  the process spins for ever. Now and then its start hangs by itself; such a training was made again, and *what happened* says so.

| fault | moment | runcast, with | unharmed | lost | twice | status | exit | transformers, with | unharmed | lost | twice | status | exit | what happened |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
"""
ALL = """
## Every cell

| part | fault | moment | tracker | unharmed | lost | twice | status | exit |
|---|---|---|---|---|---|---|---|---|
"""
THEIRS = "transformers"


def page(cells: Sequence[Cell], total: int, *, joined: bool = False) -> str:
    """Write the page.

    Args:
        cells: Those of ours and of transformers.
        total: How many cells of ours there would be if every trial had been run.
        joined: Whether they come from several runs.
    """
    ours = [cell for cell in cells if cell.part != THEIRS]
    theirs = [cell for cell in cells if cell.part == THEIRS]
    names = ("torch", "transformers", "mlflow", "wandb", "tensorboard", "comet-ml", "clearml", "dvclive", "codecarbon")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    kernel = ".".join(platform.release().split(".")[:2])
    about = f"Python {platform.python_version()} on {platform.system()} {kernel} with {versions}"
    told = summary(ours) + ("" if len(ours) == total else f", of the {total} that there are")
    told += JOINED if joined else ""
    command = "`python -m faults --peers --markdown docs/faults.md`"
    text = HEAD.format(command=command, date=time.strftime("%Y-%m-%d"), versions=about, summary=told)
    if theirs:
        moments = list(dict.fromkeys((cell.fault, cell.moment) for cell in theirs))
        theirs.sort(key=lambda cell: moments.index((cell.fault, cell.moment)))
        pairs = [(_find(ours, cell), cell) for cell in theirs]
        text += SIDE.format(totals=_totals(pairs)) + "".join(_pair(*pair) for pair in pairs)
    short = [f"* {cell.title}: {' '.join(cell.note.split())[:200]}\n" for cell in ours if not cell.holds]
    if short:
        text += "\n## What fell short\n\n" + "".join(short)
    lines = (_line(cell.part, cell.fault, cell.moment, cell.tracker, *verdicts(cell)) for cell in ours)
    return text + ALL + "".join(lines)


def _find(ours: Sequence[Cell], theirs: Cell) -> Cell | None:
    """Find our cell of the same fault and moment: that with the same tracker, or with a process, where there are several."""
    same = [cell for cell in ours if (cell.fault, cell.moment) == (theirs.fault, theirs.moment)]
    best = sorted(same, key=lambda cell: (theirs.tracker not in cell.tracker, "process" not in cell.tracker))
    return best[0] if best else None


def _totals(pairs: Sequence[tuple[Cell | None, Cell]]) -> str:
    """Count for each tracker of transformers, and for what stands beside it, how many of the cells to which a promise applies keep it."""
    names = dict.fromkeys(theirs.tracker for _, theirs in pairs)
    groups = {f"transformers, {name}": [theirs for _, theirs in pairs if theirs.tracker == name] for name in names}
    beside = {mine.title: mine for mine, _ in pairs if mine is not None}
    return "".join(_total(name, cells) for name, cells in (*groups.items(), ("runcast", [*beside.values()])))


def _total(name: str, cells: Sequence[Cell]) -> str:
    kept = (
        [cell.unharmed for cell in cells],
        [cell.lost == 0 for cell in cells if cell.lost is not None],
        [cell.twice == 0 for cell in cells if cell.twice is not None],
        [cell.status_right for cell in cells if cell.status_right is not None],
    )
    return _line(name, str(len(cells)), *(f"{sum(map(bool, each))} of {len(each)}" if each else "-" for each in kept))


def _pair(ours: Cell | None, theirs: Cell) -> str:
    mine = (ours.tracker, *verdicts(ours)) if ours is not None else ("",) * 6
    stuck = theirs.note.startswith("it never ended")
    yours = ("**stuck**", *verdicts(theirs)[1:]) if stuck else verdicts(theirs)
    return _line(theirs.fault, theirs.moment, *mine, theirs.tracker, *yours, theirs.note)


def _line(*columns: str) -> str:
    bold = ("**NO**" if column == "NO" else column.replace("|", "\\|").replace("\n", " ") for column in columns)
    return f"| {' | '.join(bold)} |\n"
