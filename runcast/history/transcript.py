"""The records of a journal that say what another tool kept of a run.

What a journal already has is left out, so that a run that has grown since an earlier import gets only the rest.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from runcast.core.errors import RuncastError
from runcast.integrations.contract import Reading
from runcast.integrations.files import files_in
from runcast.integrations.payloads import rows_of
from runcast.journal.paths import make_private, own_mode
from runcast.journal.reader import JournalReader
from runcast.journal.records import (
    Artifact,
    Dropped,
    Finish,
    Media,
    Metrics,
    Params,
    Record,
    Start,
    Summary,
    Tags,
    points,
)
from runcast.journal.snapshots import keep_artifact
from runcast.redaction.tree import SafeKeys, redact, redact_text
from runcast.values.config import plain
from runcast.values.copying import copy_file
from runcast.values.media import MediaKind
from runcast.values.numbers import NotANumber, to_number
from runcast.values.params import flatten
from runcast.values.points import Point
from runcast.values.scalars import INTS, encodable, without_surrogates

KINDS: dict[str, MediaKind] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".svg"), "image"),
    **dict.fromkeys((".wav", ".mp3", ".flac", ".ogg", ".m4a"), "audio"),
    **dict.fromkeys((".gif", ".mp4", ".webm", ".avi", ".mov", ".mkv"), "video"),
    **dict.fromkeys((".txt", ".md"), "text"),
    **dict.fromkeys((".html", ".htm"), "html"),
    ".csv": "table",
    ".json": "histogram",
}
TEXTS = ("text", "table", "html")


class Span(NamedTuple):
    """When a run began and ended, in seconds since the epoch."""

    start: float
    end: float


def span_of(reading: Reading, otherwise: float) -> Span:
    """Return when a run began and ended: by its own times, else by those of its points, else by *otherwise*."""
    times = [time for time in (*reading.media_times.values(), *(point.time for point in reading.points)) if time > 0]
    start = reading.started_at or min(times, default=reading.ended_at or otherwise)
    return Span(start, reading.ended_at or max(times, default=start))


class Transcript:
    """The records that the journal in *folder* lacks of a run, an empty folder all of them.

    `end` is the record with which the journal ends, and `dropped` says why the values of a key could not be kept.
    """

    def __init__(self, folder: Path) -> None:
        self.end: Finish | None = None
        self.dropped: dict[str, str] = {}
        self._folder, self._keys, self._checked = folder, SafeKeys(), dict[str, str]()
        self._points: Counter[tuple[str, int, str]] = Counter()
        self._media: Counter[tuple[str, int]] = Counter()
        self._params, self._summary, self._reported = dict[str, Any](), dict[str, Any](), set[str]()
        self._tags, self._artifacts = set[str](), dict[str, int]()
        for record in JournalReader(folder / "journal.jsonl"):
            self._note(record)

    def _note(self, record: Record) -> None:
        if isinstance(record, Start | Finish):
            self.end = record if isinstance(record, Finish) else None
        elif isinstance(record, Metrics):
            self._points.update(map(_identity, points(record)))
        elif isinstance(record, Params):
            self._params |= record.values
        elif isinstance(record, Summary):
            self._summary |= record.values
        elif isinstance(record, Tags):
            self._tags.update(record.tags)
        elif isinstance(record, Media):
            self._media[record.key, record.step] += 1
        elif isinstance(record, Artifact):
            self._artifacts[record.name] = record.size_bytes
        elif isinstance(record, Dropped):
            self._reported.add(record.key)

    def rest(self, reading: Reading, span: Span) -> Iterator[Record]:
        """Yield what the journal lacks, in the order of time, and copy the files that the records name.

        The end of the run is not among them.
        """
        if params := _changed(self._params, flatten(redact(plain(reading.params or {})))):
            yield Params(time=span.start, values=params)
        if tags := sorted({*map(redact_text, reading.tags or ())} - self._tags):
            yield Tags(time=span.start, tags=tags)
        for row, step, time in rows_of([*self._lacking(reading, span)]):
            yield Metrics(time=time, step=step, values={key: encodable(value) for key, value in row.items()})
        yield from self._files(reading, span)
        summary = flatten(redact(plain(reading.summary or {})))
        if new := _changed(self._summary, {key: value for key, value in summary.items() if value is not None}):
            yield Summary(time=span.end, values=new)
        for key, reason in reading.left_out.items():
            self._drop(key, reason)
        for key, reason in self.dropped.items():
            yield Dropped(time=span.end, key=key, reason=redact_text(reason))

    def _lacking(self, reading: Reading, span: Span) -> Iterator[Point]:
        for point in _in_order(reading.points):
            key, step = self._key(point.key), point.step
            try:
                value = to_number(point.value)
            except NotANumber:
                self._drop(key, "is no number")
                continue
            if step not in INTS:
                self._drop(key, f"has the step {step}, which is no whole number of 64 bits")
                continue
            new = Point(key, value, step, point.time or span.start)
            if self._points[_identity(new)] > 0:
                self._points[_identity(new)] -= 1
            else:
                yield new

    def _files(self, reading: Reading, span: Span) -> Iterator[Record]:
        for name, path in reading.contents.items():
            key = self._key(name if isinstance(name, str) else name[0])
            kind = None if isinstance(name, str) else KINDS.get(path.suffix.lower())
            try:
                if isinstance(name, str) or kind is None:
                    if self._artifacts.get(key) != sum(file.stat().st_size for file in files_in(path)):
                        yield self._artifact(path, key, span.end)
                elif self._media[key, name[1]] > 0:
                    self._media[key, name[1]] -= 1
                else:
                    yield self._medium(path, key, name[1], kind, reading.media_times.get(name, span.end))
            except (OSError, ValueError, RuncastError) as error:
                self._drop(key, f"is a file that was not kept: {error}")

    def _artifact(self, path: Path, name: str, time: float) -> Artifact:
        number = len(list(self._folder.glob("artifacts/*"))) + 1
        record, lacking = keep_artifact(self._folder, path, name, "file", number)
        if lacking:
            self._drop(name, lacking)
        return msgspec.structs.replace(record, time=time)

    def _medium(self, path: Path, key: str, step: int, kind: MediaKind, time: float) -> Media:
        folder = self._folder / "media"
        make_private(folder)
        number = len(list(folder.iterdir())) + 1
        target = folder / f"{step:08d}-{number:08x}{path.suffix.lower()}"
        if kind in TEXTS:
            text = path.read_text(encoding="utf-8", errors="replace")
            target.write_text(redact_text(text), encoding="utf-8")
            own_mode(target)
        else:
            copy_file(path, target)
        return Media(time=time, key=key, step=step, kind=kind, path=target.relative_to(self._folder).as_posix())

    def _key(self, key: str) -> str:
        """Return a key as a journal may hold it."""
        if key not in self._checked:
            self._checked[key] = self._keys.checked(without_surrogates(key))
        return self._checked[key]

    def _drop(self, key: str, reason: str) -> None:
        if (name := self._key(key)) not in self._reported:
            self.dropped.setdefault(name, reason)


def _in_order(given: Iterable[Point]) -> Iterable[Point]:
    """Return points in the order of logging: by their times, if the tool knows them."""
    found = list(given)
    if min((point.time for point in found), default=0.0) < max((point.time for point in found), default=0.0):
        found.sort(key=lambda point: (point.time, point.step))
    return found


def _identity(point: Point) -> tuple[str, int, str]:
    """Return by what a point is recognised: not its time, as some tools know none."""
    return point.key, point.step, repr(point.value)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in now.items() if key not in before or repr(before[key]) != repr(value)}
