"""Samples of an LLM or RL run: rows of prompts, completions, rewards and whatever else, each with its step."""

from collections.abc import Mapping
from typing import Any

from runcast.core.errors import OptionError
from runcast.values.media.checks import check_caption
from runcast.values.media.kinds import Table
from runcast.values.media.tables import is_frame, listed

STEP = "step"
FORMS = (
    "Give a list of mappings, as [{'prompt': …, 'completion': …}], or a mapping of columns to lists, or a data frame."
)


class SampleTable(Table, frozen=True, eq=False):
    """A table whose rows say at which step they were logged: `rows` is what a Table takes, one row, or a Table."""

    def _check(self) -> None:
        check_caption(self.caption)  # the rows are read when they are saved

    def at_step(self, step: int) -> Table:
        """Return the table, with a column for the step unless it has one of that name.

        Raises:
            OptionError: The rows have no names for the columns.
        """
        table = self.rows if isinstance(self.rows, Table) else _table_of(self.rows, self.caption)
        columns = table.columns or ()
        if table.problem is not None or STEP in columns:
            return table
        return Table([[step, *row] for row in table.rows], [STEP, *columns], table.caption)


def _table_of(rows: Any, caption: str | None) -> Table:
    if is_frame(rows):
        return Table(rows, caption=caption)
    if isinstance(rows, Mapping):
        single = [name for name, value in rows.items() if not _is_column(value)]
        if single and len(single) < len(rows):
            raise OptionError(f"Of the columns, {single[0]!r} is a single value, and others are several. {FORMS}")
        return Table([rows] if single else rows, caption=caption)
    lines = listed(rows) if hasattr(type(rows), "__iter__") else [rows]
    if not all(isinstance(line, Mapping) for line in lines):
        raise OptionError(f"Samples need names for their columns. {FORMS}")
    return Table(lines, None if lines else [], caption)


def _is_column(value: Any) -> bool:
    is_several = hasattr(type(value), "__len__") and not isinstance(value, str | bytes | bytearray | Mapping)
    return is_several and getattr(value, "shape", None) != ()
