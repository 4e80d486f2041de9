"""The cells of a table as CSV, with their types preserved.

Numbers, True, False and empty cells (None) are written bare. A text is quoted where it would read as one of those, so
"007" stays a text. Other programs can read the file as usual.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from runcast.values.scalars import encodable

Cell: TypeAlias = str | int | float | bool | None

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[nN]a[nN]|-?(?:inf|Infinity)")
_WORDS = {"": None, "True": True, "False": False}
_MAX_DIGITS = 4000  # Python refuses to parse more
# A cell and its terminator. Quotes may hold anything, with inner quotes doubled.
_CELL = re.compile(r'(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\r|\n|\Z)')


def csv_line(cells: Iterable[Cell]) -> str:
    """Write a row."""
    return ",".join(csv_cells(cells)) + "\n"


def csv_cells(cells: Iterable[Cell]) -> list[str]:
    """Write cells, each as in a row."""
    return list(map(_written, cells))


def read_table(path: Path) -> tuple[list[str], list[list[Cell]]]:
    """Read the columns and rows of a table's file; in files of runcast 0.1 texts are bare."""
    header, *rows = _lines(path.read_bytes().decode("utf-8", "replace")) or [[]]
    columns = [bare if quoted is None else quoted for quoted, bare in header]
    return columns, [[_typed(bare) if quoted is None else quoted for quoted, bare in line] for line in rows]


def _lines(text: str) -> list[list[tuple[str | None, str]]]:
    lines: list[list[tuple[str | None, str]]] = []
    line: list[tuple[str | None, str]] = []
    at = 0
    while at < len(text):
        match = _CELL.match(text, at)
        if match is None:  # an unclosed quote
            line.append((text[at:], ""))
            break
        quoted, bare, end = match.groups()
        line.append((None if quoted is None else quoted.replace('""', '"'), bare or ""))
        at = match.end()
        if end != ",":
            lines.append(line)
            line = []
        elif at == len(text):
            line.append((None, ""))
    return [*lines, line] if line else lines


def _written(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return str(encodable(cell))
    if not isinstance(cell, str):
        return str(cell)
    if "," in cell or "\n" in cell or '"' in cell or "\r" in cell or _typed(cell) is not cell:
        return _quoted(cell)
    return cell


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _typed(text: str) -> Cell:
    """Read a bare cell: a number, a bool, None or a text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _MAX_DIGITS and _INT.fullmatch(text):
        return int(text)
    return float(text) if len(text) <= _MAX_DIGITS and _FLOAT.fullmatch(text) else text
