"""The end of a journal: the last value of each metric, without reading the rest."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from runcast.journal.records import UNREADABLE, Metrics, decode, points
from runcast.values.scalars import Number

TAIL_BYTES = 64 * 1024


def last_values(journal: Path) -> dict[str, Number]:
    """Return the last value of each metric that is in the end of a journal."""
    found: dict[str, Number] = {}
    for line in _last_lines(journal):
        with contextlib.suppress(*UNREADABLE):
            record = decode(line)
            if isinstance(record, Metrics):
                for key, value, _, _ in reversed(points(record)):
                    found.setdefault(key, value)
    return found


def _last_lines(journal: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError), open(journal, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        yield from reversed(file.read().split(b"\n"))
