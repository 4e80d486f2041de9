"""Where a point is kept: SwanLab has one for each column and step, no step below 0, and one kind for each column.

A point that does not fit goes into a column of our own, whose name says what is odd about it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from pyroaring import BitMap64
from swanlab.proto.swanlab.metric.column.v1.column_pb2 import ColumnType
from swanlab.sdk.internal.pkg.adapter import medium

OWN = "runcast/"
MAX_STEP = 1 << 48  # of swanlab/sdk/internal/core_python/metrics
Place: TypeAlias = Callable[[str, int, int], tuple[str, int]]
_BEFORE, _AGAIN = f"{OWN}before/", f"{OWN}again/"
_ADDED = re.compile(rf"\A(?:{OWN}(?:again/\d+|before|as/[a-z0-9]+)/)+")


class Places:
    """The columns of a run, each with its kind and its steps."""

    def __init__(self) -> None:
        self.columns: dict[str, tuple[int, BitMap64]] = {}

    def note(self, column: str, kind: int, step: int) -> None:
        """Note that a column has a step."""
        self.columns.setdefault(column, (kind, BitMap64()))[1].add(step)

    @contextmanager
    def batch(self) -> Iterator[Place]:
        """Give places that count only if the block succeeds."""
        taken: list[tuple[str, int]] = []

        def place(key: str, step: int, kind: int) -> tuple[str, int]:
            column, at = self._find(key, step, kind)
            self.note(column, kind, at)
            taken.append((column, at))
            return column, at

        try:
            yield place
        except BaseException:
            for column, at in taken:
                self.columns[column][1].discard(at)
            raise

    def _find(self, key: str, step: int, kind: int) -> tuple[str, int]:
        column, at, again = key if step >= 0 else _BEFORE + key, abs(step), 0
        if column in self.columns and self.columns[column][0] != kind:
            column = f"{OWN}as/{_word(kind)}/{column}"
        name = column
        while name in self.columns and at in self.columns[name][1]:
            again += 1
            name = f"{_AGAIN}{again}/{column}"
        return name, at


def logged(column: str, step: int) -> tuple[str, int]:
    """Return the key and the step that were given a place."""
    added = _ADDED.match(column)
    if added is None:
        return column, step
    return column[added.end() :], -step if _BEFORE in added[0] else step


def _word(kind: int) -> str:
    return "number" if kind == ColumnType.COLUMN_TYPE_SCALAR else str(medium[ColumnType.ValueType(kind)])
