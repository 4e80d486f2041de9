"""The fault matrix: which modules have trials, how they are run, and the table that is made of their cells."""

import importlib
import shutil
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from faults.cell import Cell, Trial

MODULES = ("trackers", "training", "starts", "world", "endurance", "properties")
PEERS = "peers"  # not ours, and not expected to hold
COLUMNS = (
    "part",
    "fault",
    "moment",
    "tracker",
    "training unharmed",
    "points lost",
    "points twice",
    "status right",
    "exit",
)


def collect(modules: Sequence[str] = MODULES) -> list[Trial]:
    """List the trials of all modules, in their order."""
    return [trial for name in modules for trial in importlib.import_module(f"faults.{name}").trials()]


def run_trial(trial: Trial, folder: Path) -> Cell:
    """Run one trial; one that breaks has not shown that its promise holds."""
    folder.mkdir(parents=True)
    try:
        return trial.run(folder)
    except Exception as error:
        traceback.print_exc()
        return trial.fill(unharmed=False, note=f"the trial broke: {type(error).__name__}: {error}"[:400])


def run_trials(trials: Sequence[Trial], folder: Path, jobs: int, progress: Callable[[Cell], None]) -> list[Cell]:
    """Run trials, some at a time, each in a folder of its own, which is kept only if its cell falls short."""
    cells: dict[int, Cell] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_trial, trial, folder / str(number)): number for number, trial in enumerate(trials)}
        for future in as_completed(futures):
            number = futures[future]
            cells[number] = future.result()
            if cells[number].holds:
                shutil.rmtree(folder / str(number), ignore_errors=True)
            progress(cells[number])
    return [cells[number] for number in range(len(trials))]


def row(cell: Cell) -> tuple[str, ...]:
    """Write a cell as a row of the table."""
    return (cell.part, cell.fault, cell.moment, cell.tracker, *verdicts(cell))


def verdicts(cell: Cell) -> tuple[str, ...]:
    """Write what was found; '-' where the question does not apply."""
    yes_no = {True: "yes", False: "NO", None: "-"}
    return (
        yes_no[cell.unharmed],
        "-" if cell.lost is None else str(cell.lost),
        "-" if cell.twice is None else str(cell.twice),
        yes_no[cell.status_right],
        "-" if cell.exit_s is None else f"{cell.exit_s:.1f} s",
    )


def summary(cells: Sequence[Cell]) -> str:
    """Say in one line how many cells hold."""
    holding = sum(cell.holds for cell in cells)
    return f"{holding} cells hold, {len(cells) - holding} fall short"
