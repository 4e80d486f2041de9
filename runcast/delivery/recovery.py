"""What a tracker lacks: the journal's points minus those that the tracker's own reader sees.

A process that was killed may have delivered points that it did not count, or counted points that the SDK still held in
memory. Comparing with what the service really has settles both: each point ends up there exactly once.
"""

import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from runcast.core.journal import JournalReader
from runcast.core.points import PointList
from runcast.core.records import Metrics, Number, Point, points
from runcast.delivery.marks import MarkCounter

Identity = tuple[str, int, float | str]


def identity(point: Point, precision: str = "float64") -> Identity:
    """Return what makes two points the same: name, step and value, as far as the service keeps it."""
    return (point.key, point.step, canonical(point.value, precision))


def mark(point: Point, precision: str = "float64") -> int:
    """Return the 64 bits that stand for a point's name, step and value in this process.

    Of ten million points, two that differ have the same ones with a probability of 3e-6.
    """
    return hash(identity(point, precision))


def canonical(value: Number, precision: str = "float64") -> float | str:
    """Write a value as the service holds it; NaN, which equals nothing, becomes a word."""
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if precision == "float32":
        try:
            return float(struct.unpack("f", struct.pack("f", number))[0])
        except OverflowError:
            return math.copysign(math.inf, number)
    return number


def journal_points(journal: Path, end: int | None = None, *, without: str | None = None) -> Iterator[Point]:
    """Yield a journal's points up to an offset, without those that the tracker *without* measured itself."""
    reader = JournalReader(journal)
    while batch := reader.read():
        for record, offset in batch:
            if end is not None and offset > end:
                return
            if isinstance(record, Metrics) and (without is None or record.by != without):
                yield from points(record)


def missing(
    expected: Iterable[Point], seen: Iterable[int], rename: Callable[[str], str], precision: str = "float64"
) -> PointList:
    """List the expected points (renamed as the service has them) whose marks were not seen, as often as they lack."""
    have = MarkCounter(seen)
    lacking = PointList()
    for point in expected:
        renamed = point._replace(key=rename(point.key))
        if not have.take(mark(renamed, precision)):
            lacking.append(renamed)
    return lacking
