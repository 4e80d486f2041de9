"""Values that a script logged and that could not be kept, read from the journal without decoding the rest of it."""

import contextlib
from pathlib import Path

import msgspec

from runcast.journal.records import UNREADABLE, Dropped, decode

_MARK = b'{"type":"dropped"'


class DroppedValues(msgspec.Struct, frozen=True, kw_only=True):
    """How many values of one key were dropped, and why the first one was."""

    count: int
    reason: str


def dropped_values(journal: Path) -> dict[str, DroppedValues]:
    """Return the dropped values of a run by key; while it trains, at least the first one of each key."""
    found: dict[str, DroppedValues] = {}
    with contextlib.suppress(OSError), open(journal, "rb") as lines:
        for line in lines:
            if line.startswith(_MARK):
                with contextlib.suppress(*UNREADABLE):
                    record = decode(line)
                    assert isinstance(record, Dropped)
                    before = found.get(record.key, DroppedValues(count=0, reason=record.reason))
                    found[record.key] = msgspec.structs.replace(before, count=before.count + record.count)
    return found
