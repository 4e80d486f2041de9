"""The digest of a run: the last and the best value of each metric, kept beside the journal.

The journal only grows, so a digest is continued from where it ended, and a run of millions of points is read once.
"""

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import JournalError
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import write_atomically
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics, Params, Summary, Tags, points, read_struct
from runcast.values.scalars import NonFinite, encodable

NAME, VERSION = "digest.json", 1
KEPT_FROM_BYTES = 64 * 1024  # of a journal: less is read again as quickly
HEAD_BYTES = 256
NAMED = 20  # metrics in a message


class MetricDigest(msgspec.Struct, kw_only=True):
    """The points of one metric: their number, the last value, and the least and the greatest finite one with steps."""

    count: int = 0
    last: float | NonFinite = 0.0
    least: float | None = None
    least_step: int = 0
    greatest: float | None = None
    greatest_step: int = 0

    def add(self, value: float, step: int) -> None:
        """Take a point."""
        self.count += 1
        self.last = encodable(value)
        if value - value == 0:
            if self.least is None or value < self.least:
                self.least, self.least_step = value, step
            if self.greatest is None or value > self.greatest:
                self.greatest, self.greatest_step = value, step

    def best(self, *, is_least: bool) -> tuple[float, int] | None:
        """Return the best finite value and its step."""
        value, step = (self.least, self.least_step) if is_least else (self.greatest, self.greatest_step)
        return None if value is None else (value, step)


class Digest(msgspec.Struct, kw_only=True):
    """What a journal holds up to `offset`, in short; `head` recognizes the journal."""

    version: int = VERSION
    head: str = ""
    offset: int = 0
    metrics: dict[str, MetricDigest] = {}
    params: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    tags: list[str] = []


def digest(directory: RunDirectory) -> Digest:
    """Return the digest of a run, continued to the end of its journal and kept for the next time."""
    head = _head(directory.journal)
    kept = read_struct(directory.path / NAME, Digest)
    held = kept if kept is not None and kept.version == VERSION and kept.head == head else Digest(head=head)
    before = held.offset
    reader = JournalReader(directory.journal, held.offset)
    for record, held.offset in reader.with_ends():
        if isinstance(record, Metrics):
            for key, value, step, _ in points(record):
                held.metrics.setdefault(key, MetricDigest()).add(value, step)
        elif isinstance(record, Params):
            held.params.update(record.values)
        elif isinstance(record, Summary):
            held.summary.update(record.values)
        elif isinstance(record, Tags):
            held.tags += [tag for tag in record.tags if tag not in held.tags]
    if held.offset - before > KEPT_FROM_BYTES:
        with contextlib.suppress(OSError):  # a folder of somebody else
            write_atomically(directory.path / NAME, msgspec.json.encode(held))
    return held


def metric_named(word: str, known: Collection[str]) -> str:
    """Return the metric that a user means: its name, or the beginning or the end of it, if only one has it.

    Raises:
        JournalError: None or several match.
    """
    for matches in (
        [key for key in known if key == word],
        [key for key in known if key.startswith(word)],
        [key for key in known if is_meant(key, word)],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise JournalError(f"{len(matches)} metrics match {word!r}. It could be {listed(matches)}")
    raise JournalError(f"There is no metric {word!r}. There is {listed(known) or 'none'}")


def is_meant(key: str, word: str) -> bool:
    """Return whether a word may mean a metric: its name, or the beginning or the end of it."""
    return key.startswith(word) or key.endswith(f"/{word}")


def listed(names: Collection[str]) -> str:
    """Name some of many names."""
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(sorted(names)[:NAMED])}{rest}"


def _head(journal: Path) -> str:
    with contextlib.suppress(OSError), open(journal, "rb") as file:
        return file.read(HEAD_BYTES).partition(b"\n")[0].decode(errors="replace")
    return ""
