"""Reading of tables in any accepted form, and their text as CSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runcast.core.errors import OptionError
from runcast.redaction.tree import redact_column, redact_text
from runcast.values.config import plain_value, to_json
from runcast.values.media.cells import Cell, csv_cells, csv_line
from runcast.values.media.checks import is_instance, is_pil_image
from runcast.values.media.medium import Medium
from runcast.values.scalars import NON_FINITE

_BARE = frozenset((str, float, bool, type(None)))
MAX_INT_BITS = 10_000  # Python writes no int of more than 4,300 digits


def rows_and_columns(rows: Any, columns: Sequence[Any] | None) -> tuple[list[Sequence[Any]], list[str]]:
    """Read a table from any accepted form; *columns* selects and orders its columns."""
    if is_dataset(rows):
        rows = rows.to_dict()
    elif hasattr(type(rows), "to_pydict"):  # PyArrow
        rows = rows.to_pydict()
    cells: Iterable[Sequence[Any]]
    if _is_pandas_or_polars(rows):
        frame = _with_index(rows)
        frame = frame if columns is None else frame[list(columns)]
        names = list(frame.columns)
        if hasattr(frame, "iter_rows"):
            cells = frame.iter_rows()
        else:
            cells = zip(*(_pandas_column(frame.iloc[:, at]) for at in range(len(names))), strict=True)
    elif isinstance(rows, Mapping):
        names = list(rows if columns is None else columns)
        parts = [listed(rows[name]) for name in names]
        if len({len(part) for part in parts}) > 1:
            lengths = ", ".join(f"{name}: {len(part)}" for name, part in zip(names, parts, strict=True))
            raise OptionError(f"The columns of the table differ in length ({lengths}).")
        cells = zip(*parts, strict=True)
    elif (lines := listed(rows)) and all(isinstance(row, Mapping) for row in lines):
        names = list(dict.fromkeys(name for row in lines for name in row) if columns is None else columns)
        cells = ([row.get(name) for name in names] for row in lines)
    elif columns is None:
        raise OptionError("The columns of the table have no names. Give them: Table(rows, columns=['step', 'loss'])")
    else:
        names = list(columns)
        for index, row in enumerate(lines):
            if isinstance(row, str):
                raise OptionError(
                    f"Row {index} of the table is the text {row!r}. Give rows first, then columns: Table([[1, 0.5]], "
                    "columns=['step', 'loss'])"
                )
        cells = map(listed, lines)
    return list(cells), list(map(str, names))


def is_frame(rows: Any) -> bool:
    """Return whether a value is a data frame, or a dataset of Hugging Face."""
    return is_dataset(rows) or hasattr(type(rows), "to_pydict") or _is_pandas_or_polars(rows)


def is_dataset(rows: Any) -> bool:
    """Return whether a value is a dataset of Hugging Face, in memory or in files."""
    return is_instance(rows, "datasets", "Dataset")


def _is_pandas_or_polars(rows: Any) -> bool:
    return hasattr(type(rows), "itertuples") or hasattr(type(rows), "iter_rows")


def _with_index(frame: Any) -> Any:
    """Return a data frame of pandas with the columns of its index, unless that only numbers the rows."""
    if not hasattr(type(frame), "reset_index"):
        return frame  # of Polars
    is_number = frame.index.names == [None] and getattr(frame.index.dtype, "kind", "O") in "iu"
    return frame if is_number else frame.reset_index(allow_duplicates=True)


def _pandas_column(series: Any) -> list[Any]:
    """Return the cells of a column, None where one is missing; a NaN among numbers is a number."""
    has_nan = series.dtype.kind == "f" or series.dtype == object
    return [
        None if is_missing and not (has_nan and isinstance(cell, float)) else cell
        for cell, is_missing in zip(series.tolist(), series.isna(), strict=True)
    ]


def check_width(index: int, row: Sequence[Any], columns: Sequence[str]) -> None:
    """Raise OptionError if a row has not one cell for each column."""
    if len(row) != len(columns):
        has, cells = len(row), "cell" if len(row) == 1 else "cells"
        raise OptionError(
            f"Row {index} of the table has {has} {cells} for {len(columns)} columns: {', '.join(columns)}."
        )


def csv_text(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> str:
    """Write a table as CSV, without secrets: None becomes an empty cell, a list or mapping JSON, bytes their repr."""
    header = csv_line(map(redact_text, columns))
    if not (rows and columns):
        return header + "\n" * len(rows)
    cells = (csv_cells(_cells(*column)) for column in zip(columns, zip(*rows, strict=True), strict=True))
    return header + "".join([",".join(line) + "\n" for line in zip(*cells, strict=True)])


def _cells(column: str, values: Sequence[Any]) -> list[Cell]:
    trees = [value if type(value) in _BARE else _tree(value) for value in values]
    return [to_json(tree) if isinstance(tree, list | dict) else tree for tree in redact_column(column, trees)]


def _tree(value: Any) -> Any:
    if type(value) is int and value.bit_length() < MAX_INT_BITS:
        return value
    if isinstance(value, bytes | bytearray):
        return repr(bytes(value))
    if issubclass(kind := type(value), Medium):
        return f"<{kind.__name__}: {value.caption}>" if value.caption else f"<{kind.__name__}>"
    if is_pil_image(value):
        return "<Image>"
    tree = plain_value(value, whole=True)
    return NON_FINITE[tree] if isinstance(tree, str) and tree in NON_FINITE and not isinstance(value, str) else tree


def listed(values: Any) -> list[Any]:
    """Return the values of a list, an array or a tensor as a list."""
    return list(values.tolist() if hasattr(values, "tolist") else values)
