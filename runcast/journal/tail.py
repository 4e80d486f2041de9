"""The end of a journal, and the last value of each metric in it, without reading the rest."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from runcast.journal.records import UNREADABLE, AnyRecord, Metrics, decode, points
from runcast.values.scalars import Number

TAIL_BYTES = 64 * 1024


def last_values(journal: Path) -> dict[str, Number]:
    """Return the last value of each metric that is in the end of a journal."""
    found: dict[str, Number] = {}
    for record in last_records(journal, TAIL_BYTES):
        if isinstance(record, Metrics):
            for key, value, _, _ in reversed(points(record)):
                found.setdefault(key, value)
    return found


def last_records(journal: Path, size_bytes: int) -> Iterator[AnyRecord]:
    """Yield the records in the end of a journal, the last one first; none if it cannot be read."""
    try:
        with open(journal, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size_bytes))
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in reversed(lines):
        with contextlib.suppress(*UNREADABLE):
            yield decode(line)
