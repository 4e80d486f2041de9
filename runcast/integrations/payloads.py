"""What a Tracker is given and gives back: files, how a run ended, and the run as its service's own reader sees it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from runcast.journal.records import ALERTS, Status
from runcast.values.media import MediaKind
from runcast.values.media.cells import Cell, read_table
from runcast.values.points import Point, PointList
from runcast.values.scalars import Number


class Alert(NamedTuple):
    """A message that people should see at once; `level` is "info", "warn" or "error"."""

    level: str
    title: str
    text: str


class MediaFile(msgspec.Struct, frozen=True):
    """One image, sound, video, text, table, histogram or page (HTML) in a file.

    The content of a text, a table or a histogram is given by the methods; the others are files of their kinds.
    """

    key: str
    step: int
    kind: MediaKind
    path: Path
    caption: str | None
    time: float

    def text(self) -> str:
        """Return the content of a text."""
        return self.path.read_text(encoding="utf-8")

    def alert(self) -> Alert | None:
        """Return the alert that a text is, for a service that has alerts; it is stored as a text all the same."""
        level, colon, title = (self.caption or "").partition(": ")
        if self.kind != "text" or self.key.partition("/")[0] != ALERTS or not colon:
            return None
        return Alert(level, title, self.text().partition("\n\n")[2])

    def table(self) -> tuple[list[str], list[list[Cell]]]:
        """Return the columns and the rows of a table; a cell is a text, a number, a bool or None."""
        return read_table(self.path)

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows of a table by column; the second of two columns of one name has its number in its own."""
        columns, rows = self.table()
        names = [name if columns.index(name) == at else f"{name} ({at + 1})" for at, name in enumerate(columns)]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def histogram(self) -> tuple[list[Number], list[Number]]:
        """Return the n counts and the n + 1 edges of a histogram."""
        content = msgspec.json.decode(self.path.read_bytes())
        return content["counts"], content["edges"]


class ArtifactFile(msgspec.Struct, frozen=True):
    """A file or a folder to keep with the run; `kind` is the user's word ("model", "dataset", "config", "file")."""

    name: str
    kind: str
    path: Path


class Ending(msgspec.Struct, frozen=True):
    """How a run ended: its status, the traceback of one that failed, and when that was, in seconds since the epoch.

    `ended_at` is the time of the training, however late it is delivered: of a run that was killed, that of its last
    record. `session` counts the sessions of the run from 1.
    """

    status: Status
    error: str | None = None
    ended_at: float = 0.0
    session: int = 1


class Reading(msgspec.Struct, kw_only=True):
    """The run as a tracker's own reader sees it; None where the service has no such thing.

    Keys are the service's names (the caller maps them back). `points` holds every stored point, in any order. `params`
    may be texts. `artifacts` holds the names given to `log_artifact`, `media` the keys and steps given to `log_media`,
    each as often as it is there. `contents` says where on this machine their contents are: a file or a folder for the
    name of an artifact, a file for the key and step of a media file; what the service keeps elsewhere is missing.
    `started_at` and `ended_at` are the run's times, None where the service keeps none or keeps its own. `unreadable`
    says why there is nothing to compare, where the user's options leave nothing to read.

    `media_times` and `left_out` are for `import`: when media were logged, and why the values of a key cannot be read.
    """

    points: Sequence[Point] = msgspec.field(default_factory=PointList)
    params: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    tags: set[str] | None = None
    artifacts: set[str] | None = None
    media: Collection[tuple[str, int]] | None = None
    contents: dict[str | tuple[str, int], Path] = {}
    status: Status | Literal["running"] | None = None
    started_at: float | None = None
    ended_at: float | None = None
    name: str | None = None
    notes: str | None = None
    group: str | None = None
    unreadable: str | None = None
    media_times: dict[tuple[str, int], float] = {}
    left_out: dict[str, str] = {}

    def keep(self, key: str, step: int, path: Path, time: float) -> None:
        """Add the file of a medium that `import` shall keep; of two at one step the last one counts."""
        if (key, step) in self.contents:
            self.left_out[key] = f"was logged more than once at step {step}, of which only the last one is kept"
        self.contents[key, step] = path
        if time:
            self.media_times[key, step] = time


def rows_of(points: Sequence[Point]) -> Iterator[tuple[dict[str, Number], int, float]]:
    """Yield points as rows, each with its step and time; a key that comes twice at one step begins another row."""
    for (step, moment), group in groupby(points, key=lambda point: (point.step, point.time)):
        row: dict[str, Number] = {}
        for point in group:
            if point.key in row:
                yield row, step, moment
                row = {}
            row[point.key] = point.value
        yield row, step, moment
