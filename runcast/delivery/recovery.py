"""Recovery: a tracker lacks the journal's points minus those that its own reader sees.

A killed process may have delivered points without counting them, or counted points that the SDK still held in memory.
Comparing with the service's actual content settles both: each point ends up there exactly once.
"""

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from runcast.delivery.marks import MarkCounter
from runcast.delivery.sending.naming import MediaNames, ServiceNames
from runcast.integrations.contract import Kind, Reading, Tracker
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Artifact, Media, Metrics, points
from runcast.values.points import Point, PointList
from runcast.values.scalars import Number

Identity = tuple[str, int, float | str]

_float64, _float32 = struct.Struct("<qd").pack, struct.Struct("<qf").pack


def identity(point: Point, precision: str = "float64") -> Identity:
    """Return the identity of a point: name, step and value, in the service's precision."""
    return (point.key, point.step, canonical(point.value, precision))


def mark(point: Point, precision: str = "float64") -> int:
    """Return the 64 bits that stand for a point's name, step and value in this process.

    `hash` of bytes is SipHash (PEP 456). `hash` of numbers would not do: it is their value modulo 2**61 - 1, so 0.5 and
    2**60 collide, and so do -1 and -2. Among ten million points, the probability of a collision is 3e-6.
    """
    key, value, step, _ = point
    number = float(value)
    if number != number:
        number = math.nan  # there are many NaNs, with different bits
    number += 0.0  # -0.0 becomes 0.0: they are equal, and some services lose the sign of zero
    try:
        head = _float64(step, number) if precision == "float64" else _float32(step, number)
    except OverflowError:
        head = _float32(step, math.copysign(math.inf, number))
    except struct.error:  # a step of more than 64 bits, which a reader may return
        return hash(f"{step} {canonical(number, precision)!r} {key}".encode(errors="surrogatepass"))
    return hash(head + key.encode(errors="surrogatepass"))


def canonical(value: Number, precision: str = "float64") -> float | str:
    """Return a value in the service's precision; NaN, which equals nothing, becomes a string."""
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if precision == "float32":
        try:
            return float(struct.unpack("f", struct.pack("f", number))[0])
        except OverflowError:
            return math.copysign(math.inf, number)
    return number


def is_another_run(tracker: Tracker, before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Return whether a tracker's ids now denote another run, which may be empty."""
    names = before.keys() if tracker.identities is None else tracker.identities & before.keys()
    return any(now.get(name) != before[name] for name in names)


def journal_points(journal: Path, end: int | None = None, *, without: str | None = None) -> Iterator[Point]:
    """Yield a journal's points up to an offset, without those that the tracker *without* measured itself."""
    for record, offset in JournalReader(journal).with_ends():
        if end is not None and offset > end:
            return
        if isinstance(record, Metrics) and (without is None or record.by != without):
            yield from points(record)


def missing(
    expected: Iterable[Point], seen: Iterable[int], rename: Callable[[str], str], precision: str = "float64"
) -> PointList:
    """List the expected points, under the service's names, whose marks were not seen, as often as they are missing."""
    have = MarkCounter(seen)
    lacking = PointList()
    for point in expected:
        renamed = point._replace(key=rename(point.key))
        if not have.take(mark(renamed, precision)):
            lacking.append(renamed)
    return lacking


def lacking_records(
    journal: Path, end: int, reading: Reading, names: ServiceNames, media_names: MediaNames, supports: frozenset[Kind]
) -> Iterator[tuple[AnyRecord, int]]:
    """Yield the records up to an offset that must be sent again, each with its end offset.

    These are the files that it lacks; params, summary and tags, whose last value wins; and unsupported records, which
    are counted again. Points are excluded if the tracker supports them.
    """
    artifacts = set[str]()
    for record, offset in JournalReader(journal).with_ends():
        if offset > end:
            return
        if isinstance(record, Metrics):
            has = "metrics" in supports
        elif isinstance(record, Media) and "media" in supports:
            has = reading.media is None or (media_names.name(record, offset), record.step) in reading.media
        elif isinstance(record, Artifact) and "artifacts" in supports:
            is_newer = record.name in artifacts  # than the version that the tracker may have under this name
            artifacts.add(record.name)
            has = reading.artifacts is None or (names.artifact(record.name) in reading.artifacts and not is_newer)
        else:
            has = False
        if not has:
            yield record, offset
