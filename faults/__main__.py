"""Run the fault matrix and print one table: `python -m faults [--only TEXT] [--fast] [--jobs N] [--peers] [--json FILE]`.

Exits with 1 if a cell falls short.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults.cell import Cell
from faults.matrix import COLUMNS, MODULES, PEERS, collect, row, run_trials, summary
from faults.report import THEIRS, page
from tests.conftest import PREFIXES
from tests.guard import pytest_configure

ALONE = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NETRC")


def main() -> int:
    """Run the chosen trials; return the exit code."""
    arguments = parse()
    pytest_configure()  # an interrupt leaves no server or training behind
    console = Console(width=None if sys.stdout.isatty() else 180)
    known = load(arguments.cells)
    modules = (*MODULES, PEERS) if arguments.peers else MODULES
    trials = [t for t in collect(modules) if arguments.only in t.title and (t.fast or not arguments.fast)]
    trials = [trial for trial in trials if trial.title not in known]
    if not trials and not known:
        console.print(f"No trial's title contains {arguments.only!r}.")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="runcast-faults-"))
    isolate(folder)
    began = time.monotonic()
    done: list[Cell] = []

    def progress(cell: Cell) -> None:
        done.append(cell)
        if arguments.json:
            arguments.json.write_text(json.dumps([dataclasses.asdict(cell) for cell in done], indent=1))
        console.print(f"[dim]{len(done)}/{len(trials)}[/] {' · '.join(row(cell))}", highlight=False, soft_wrap=True)

    cells = [*known.values(), *run_trials(trials, folder, arguments.jobs, progress)]
    order = [trial.title for trial in collect((*MODULES, PEERS))]
    cells.sort(key=lambda cell: order.index(cell.title) if cell.title in order else len(order))
    console.print(table(cells))
    for cell in cells:
        if not cell.holds and cell.part != THEIRS:
            console.print(f"[red]{' · '.join(row(cell))}[/]\n  {cell.note}", highlight=False, soft_wrap=True)
    if arguments.markdown:
        arguments.markdown.write_text(page(cells, len(collect()), joined=bool(known)))
    falls_short = not all(cell.holds for cell in cells if cell.part != THEIRS)
    if falls_short:
        console.print(f"What those trials left is in {folder}.")
    console.print(f"{summary([cell for cell in cells if cell.part != THEIRS])} ({time.monotonic() - began:.0f} s).")
    return int(falls_short)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="run the trials whose title contains this")
    parser.add_argument("--fast", action="store_true", help="run only those that belong to `make test`")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="how many run at a time")
    parser.add_argument(
        "--peers", action="store_true", help="do the same to transformers, which is not expected to hold"
    )
    parser.add_argument(
        "--cells", type=Path, nargs="*", default=(), metavar="FILE", help="take these cells as they are"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cells")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page with both tables")
    return parser.parse_args()


def load(files: Sequence[Path]) -> dict[str, Cell]:
    """Read cells that were written with --json; of the same trial, the last one."""
    cells = [Cell(**fields) for file in files for fields in json.loads(file.read_text())]
    return {cell.title: cell for cell in cells}


def isolate(folder: Path) -> None:
    """Let the trials see nothing of the user's: no tracker's variables, an empty home, no signal that is ignored."""
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name in ALONE:
            del os.environ[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so do theirs
    home = folder / "home"
    home.mkdir()
    os.environ["HOME"] = str(home)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


def table(cells: list[Cell]) -> Table:
    """Draw the cells."""
    drawn = Table(*COLUMNS, title="What a fault did", title_justify="left")
    for cell in cells:
        drawn.add_row(*row(cell), style=None if cell.holds else "red")
    return drawn


if __name__ == "__main__":
    sys.exit(main())
