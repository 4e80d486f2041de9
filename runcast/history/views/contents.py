"""The contents of a run's journal by kind, as `runcast show` displays them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from runcast.delivery.sending.naming import media_file
from runcast.history.views.digest import metric_named
from runcast.history.views.dropped import DroppedValues, dropped_values
from runcast.integrations.table import METERS
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import ALERTS, Artifact, Finish, Media, Metrics, Params, Start, Summary, Tags, points
from runcast.values.media.cells import Cell
from runcast.values.points import Point
from runcast.values.scalars import Number

SPEEDS = ("_per_second", "/runtime", "_runtime")
METERED = (*METERS, "gpu/", "cpu/")


class Contents(msgspec.Struct, kw_only=True):
    """The contents of a run.

    `curves` maps a metric to its (step, value) pairs in the order of logging; params and summary have the last value;
    `metered` names the curves and summary values that a meter measured.
    `alerts` are the steps and captions ("level: title") of alerts.
    `artifacts` are the newest of each name, `media` counts files by key, `error` is the traceback of a failed run,
    `dropped` holds the values that could not be kept, `damaged` counts damaged lines of the journal.
    """

    curves: dict[str, list[tuple[int, Number]]] = {}
    metered: list[str] = []
    params: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    tags: list[str] = []
    alerts: list[tuple[int, str]] = []
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
                if key not in held.curves:
                    held.curves[key] = []
                    if record.by is not None:
                        held.metered.append(key)
                held.curves[key].append((step, value))
        elif isinstance(record, Params):
            held.params.update(record.values)
        elif isinstance(record, Summary):
            held.summary.update(record.values)
            if record.by is not None:
                held.metered += sorted(record.values.keys() - held.metered)
        elif isinstance(record, Tags):
            held.tags += [tag for tag in record.tags if tag not in held.tags]
        elif isinstance(record, Media):
            if record.key == ALERTS and record.kind == "text" and record.caption:
                held.alerts.append((record.step, record.caption))
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


def is_metered(key: str, held: Contents) -> bool:
    """Return whether a metric was measured beside the training: energy, processors, memory, speed."""
    return key in held.metered or key.startswith(METERED) or key.endswith(SPEEDS)


def own_first(keys: Iterable[str]) -> list[str]:
    """Sort names, those of meters after the user's own."""
    return sorted(keys, key=lambda key: (key.startswith(METERED), key))


def points_of(directory: RunDirectory, word: str, since: int | None = None) -> tuple[str, list[Point]]:
    """Return the name of the metric that a word means, and its points, those after a step only.

    Raises:
        JournalError: There is no such metric, or several.
    """
    found: dict[str, list[Point]] = {}
    for record in JournalReader(directory.journal):
        if isinstance(record, Metrics):
            for point in points(record):
                found.setdefault(point.key, []).append(point)
    key = metric_named(word, found)
    return key, [point for point in found[key] if since is None or point.step > since]


def rows_of(directory: RunDirectory, key: str, since: int | None = None) -> list[dict[str, Cell]] | None:
    """Return the rows of the tables of this key, each with its step, those after a step only; None if it has none."""
    records = [one for one in JournalReader(directory.journal) if isinstance(one, Media) and one.kind == "table"]
    tables = [media_file(record, key, directory) for record in records if record.key == key]
    if not tables:
        return None
    chosen = (table for table in tables if since is None or table.step > since)
    return [{"step": table.step, **row} for table in chosen for row in table.records()]
