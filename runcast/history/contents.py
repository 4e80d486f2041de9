"""The contents of a run's journal by kind, as `runcast show` displays them."""

from typing import Any

import msgspec

from runcast.history.dropped import DroppedValues, dropped_values
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Artifact, Finish, Media, Metrics, Params, Start, Summary, Tags, points
from runcast.values.scalars import Number


class Contents(msgspec.Struct, kw_only=True):
    """The contents of a run.

    `curves` maps a metric to its (step, value) pairs in the order of logging; params and summary have the last value.
    `artifacts` are the newest of each name, `media` counts files by key, `error` is the traceback of a failed run,
    `dropped` holds the values that could not be kept, `damaged` counts damaged lines of the journal.
    """

    curves: dict[str, list[tuple[int, Number]]] = {}
    params: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    tags: list[str] = []
    artifacts: list[Artifact] = []
    media: dict[str, int] = {}
    error: str | None = None
    dropped: dict[str, DroppedValues] = {}
    damaged: int = 0


def contents(directory: RunDirectory) -> Contents:
    """Read a run's journal."""
    held = Contents()
    artifacts: dict[str, Artifact] = {}
    reader = JournalReader(directory.journal)
    for record in reader:
        if isinstance(record, Metrics):
            for key, value, step, _ in points(record):
                held.curves.setdefault(key, []).append((step, value))
        elif isinstance(record, Params):
            held.params.update(record.values)
        elif isinstance(record, Summary):
            held.summary.update(record.values)
        elif isinstance(record, Tags):
            held.tags += [tag for tag in record.tags if tag not in held.tags]
        elif isinstance(record, Media):
            held.media[record.key] = held.media.get(record.key, 0) + 1
        elif isinstance(record, Artifact):
            artifacts[record.name] = record
        elif isinstance(record, Finish):
            held.error = record.error
        elif isinstance(record, Start):
            held.error = None
    held.dropped = dropped_values(directory.journal)
    held.artifacts, held.damaged = list(artifacts.values()), reader.damaged
    return held
