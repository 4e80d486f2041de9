"""The look of all output: one console, tables without frames, readable numbers and times.

Everything fits 80 columns.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runcast.redaction.console import counted, visible

MAX_NOTES = 10
CHOOSE_ONE = "Choose one with: runcast replay --to NAME"
CAST_NOWHERE = f"It was cast to no tracker. {CHOOSE_ONE}"
PADDING = re.compile(r" +(?=\n)")
ROOMY = 100  # columns from which on a whole id fits into a list
WATCH_S = 2.0
WIDE = 5_000  # columns of a file or a pipe, where nothing is cut
STYLES = {
    "finished": "green",
    "complete": "green",
    "running": "cyan",
    "open": "cyan",
    "delivering": "cyan",
    "busy": "cyan",
    "killed": "yellow",
    "waiting": "yellow",
    "retrying": "yellow",
    "failed": "red",
    "crashed": "red",
    "refused": "red",
    "unavailable": "red",
}


class _Console(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        """Render a text, in which a name or a value cannot command the terminal."""
        return super().render_str(visible(text), **how)


class _Trimmed:
    """A file or a pipe whose lines end where their text ends: columns are padded to the longest value, however long."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> int:
        written: int = self._file.write(PADDING.sub("", text))
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def console() -> Console:
    """Return the console on standard output: colours and a width only where there is a terminal."""
    if not os.environ.get("COLUMNS", "").strip("0").isdigit():  # 0 columns, as from some pseudo-terminals, hold nothing
        os.environ.pop("COLUMNS", None)
    is_file = not sys.stdout.isatty()
    width = WIDE if is_file and "COLUMNS" not in os.environ else None
    file: Any = _Trimmed(sys.stdout) if is_file else None
    return _Console(highlight=False, emoji=False, markup=False, width=width, file=file)


def follow(draw: Callable[[Console], bool]) -> None:
    """Draw something again and again, until it changes no more or the user interrupts.

    Args:
        draw: Prints it, and returns whether it may still change.
    """
    from rich.live import Live

    out = console()
    if not out.is_terminal:
        while draw(out):
            time.sleep(WATCH_S)
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        changes = True
        while changes:
            with out.capture() as drawn:
                changes = draw(out)
            text = Text.from_ansi(drawn.get().rstrip("\n"))
            live.update(text, refresh=True)
            if changes:
                time.sleep(WATCH_S)
    out.print(text)  # the last one stays, whole, also where it is taller than the terminal


def print_json(value: Any) -> None:
    """Print a struct, or anything made of structs, as JSON."""
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except UnicodeEncodeError:  # bytes in a path that are no UTF-8
        import json

        text = json.dumps(msgspec.to_builtins(value), indent=2)
    typer.echo(text)


def table(*columns: str, right: Collection[str] = (), shrinks: str = "", wraps: str = "") -> Table:
    """Make a table without a frame; the columns in *right* are right-aligned.

    In a narrow terminal, the column *shrinks* is truncated, or the column *wraps* is wrapped.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=not column or column not in (shrinks, wraps),
            overflow="fold" if column and column == wraps else "ellipsis",
        )
    return made


def word(text: str | None) -> Text:
    """Colour a status, a phase or a result."""
    return Text(text or "–", style=STYLES.get(text or "", "dim"))


def headline(name: str, *rest: str | Text) -> Text:
    """Return the first line about a run: its name, and what follows it."""
    return Text.assemble((visible(name), "bold"), *rest)


def one_line(text: str) -> Text:
    """Return a text for the column of a table that shrinks: truncated there, instead of wrapped."""
    return Text(visible(" ".join(text.splitlines())), no_wrap=True, overflow="ellipsis")


def mark(right: bool) -> Text:
    """Return a tick or a cross."""
    return Text("✓", style="green") if right else Text("✗", style="red")


def line(out: Console, text: Any = "") -> None:
    """Print a line without wrapping, such as a command to copy."""
    out.print(text, soft_wrap=True)


def commands(out: Console, title: str, rows: Iterable[tuple[str, str | None]]) -> None:
    """Print names with commands or addresses to copy, if there are any."""
    known = [(name, command) for name, command in rows if command]
    if known:
        out.print()
        out.print(title, style="dim")
        width = max(len(name) for name, _ in known)
        for name, command in known:
            line(out, f"  {name:<{width}}  {command}" if width else f"  {command}")


def notes(out: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print errors and remarks, one paragraph for each name."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, text)
    if grid.row_count:
        out.print()
        out.print(grid)


def run_id(out: Console, whole: str) -> str:
    """Return a run's id for a list: the whole where there is room, else its end."""
    from runcast.history.finding import short_id

    return whole if out.width >= ROOMY else short_id(whole)


def print_damaged(out: Console, lines: int) -> None:
    """Print how many lines of a journal are lost, if any."""
    if lines:
        notes(out, [("", f"{counted(lines, 'line')} of the journal truncated or damaged, and lost.")])


def print_dropped(out: Console, journal: Path) -> None:
    """Print which values of a run could not be kept, and why."""
    from runcast.history.views.dropped import dropped_values

    rows = [
        (key, f"{counted(one.count, 'value')} dropped: it {one.reason}") for key, one in dropped_values(journal).items()
    ]
    notes(out, rows[:MAX_NOTES])
    if len(rows) > MAX_NOTES:
        out.print(f"… and {len(rows) - MAX_NOTES:,} more keys with dropped values: runcast show --json")


def count(number: int) -> str:
    """Format 12345 as 12,345."""
    return f"{number:,}"


def ago(moment: float) -> str:
    """Return how long ago a time was."""
    seconds = max(0.0, time.time() - moment)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def duration(seconds: float) -> str:
    """Format a duration as h:mm, a short one in seconds."""
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f}"


def number(value: float | str) -> str:
    """Format a metric's value with four significant digits; one that is not finite may be a text, as in JSON."""
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def size(size_bytes: float) -> str:
    """Format a size with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024 or unit == "GiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def nearby(where: str | None, run_path: str) -> str:
    """Format a place relative to the run's folder, which is printed above; for a database, its file."""
    if where is None:
        return "–"
    if where.startswith("sqlite:///"):
        from runcast.journal.paths import shown

        where = shown(Path(where.removeprefix("sqlite:///")))
    return where.removeprefix(f"{run_path}/")
