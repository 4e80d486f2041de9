"""Comparison of a tracker's points with the journal's, in little memory."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from runcast.delivery.marks import MarkCounter
from runcast.delivery.metering import uncover
from runcast.delivery.recovery import Identity, identity, mark
from runcast.integrations.contract import Tracker
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Metrics, Summary, meter_of, points
from runcast.values.points import Point

EXAMPLES = 5
MANY = 100_000  # too many to keep their times in memory


class PointComparison(msgspec.Struct, kw_only=True):
    """The counts of points: `logged`, `found`, `waiting` for delivery, `lacking`, and `extra` ones.

    Of the `extra` points, `twice` are duplicates of logged ones. `late` points are found with another time than in the
    journal. A few lacking and extra points are named.
    """

    logged: int = 0
    found: int = 0
    waiting: int = 0
    lacking: int = 0
    extra: int = 0
    twice: int = 0
    late: int = 0
    examples_lacking: list[str] = []
    examples_extra: list[str] = []


def compare_points(
    journal: Path,
    seen: Iterable[Point],
    tracker: Tracker,
    rename: Callable[[str], str],
    *,
    cursor: int,
    up_to_cursor: bool,
) -> PointComparison:
    """Compare the points that a tracker's reader sees with those in the journal.

    Args:
        journal: The journal file.
        seen: The points that the reader sees; iterated twice.
        tracker: The tracker. A meter should have its own measurements, any other tracker all but its own.
        rename: Returns the service's name for a metric.
        cursor: The offset in the journal up to which everything was delivered.
        up_to_cursor: Whether only that part concerns the tracker.
    """

    def own(point: Point) -> Point:
        # A meter numbers its measurements itself; their steps in the journal differ.
        return point._replace(step=0) if tracker.measures else point

    def mark_of(point: Point) -> int:
        return mark(own(point), tracker.precision)

    def wanted() -> Iterator[tuple[Point, int]]:
        for record, offset in JournalReader(journal).with_ends():
            if up_to_cursor and offset > cursor:
                return
            if isinstance(record, Metrics | Summary) and _concerns(record, tracker):
                for point in points(record):
                    key = uncover(point.key, tracker.name) if tracker.measures else point.key
                    if key is not None:
                        yield point._replace(key=rename(key)), offset

    counts = PointComparison()
    have, times = MarkCounter(), MarkCounter()
    knows_times, doubtful = False, set[int]()
    for point in seen:
        have.add(mark_of(point))
        if point.time and not tracker.measures:
            knows_times = True
            times.add(_with_time(mark_of(point), point.time // tracker.time_resolution_s))
    for one, offset in wanted():
        counts.logged += 1
        if have.take(mark_of(one)):
            counts.found += 1
            if knows_times:
                near = one.time // tracker.time_resolution_s
                if not any(times.take(_with_time(mark_of(one), near + away)) for away in (0, -1, 1)):
                    counts.late += 1
                    doubtful.add(mark_of(one))
        elif offset > cursor and not tracker.measures:
            counts.waiting += 1
        else:
            counts.lacking += 1
            if counts.lacking <= EXAMPLES:
                counts.examples_lacking.append(_named(identity(own(one), tracker.precision)))
    if 0 < len(doubtful) <= MANY:  # one of several equal points may have taken another one's time
        logged_at, seen_at = ({each: list[float]() for each in doubtful} for _ in range(2))
        for one, _ in wanted():
            logged_at.get(mark_of(one), []).append(one.time)
        for point in seen:
            seen_at.get(mark_of(point), []).append(point.time)
        counts.late = sum(_late(logged_at[each], seen_at[each], 2 * tracker.time_resolution_s) for each in doubtful)
    extra = Counter(have.left())
    if extra:
        logged = {each for one, _ in wanted() if (each := mark_of(one)) in extra}
        counts.extra, counts.twice = extra.total(), sum(extra[each] for each in logged)
        named = (_named(identity(own(point), tracker.precision)) for point in seen if mark_of(point) in extra)
        counts.examples_extra = _different(named)
    return counts


def _late(logged: list[float], seen: list[float], tolerance_s: float) -> int:
    """Count the equal points that a tracker has with other times than in the training, matched in the order of time."""
    ordered, at, matched = sorted(seen), 0, 0
    for time in sorted(logged):
        at = bisect_left(ordered, time - tolerance_s, at)
        if at < len(ordered) and ordered[at] <= time + tolerance_s:
            at, matched = at + 1, matched + 1
    return min(len(logged), len(seen)) - matched


def _with_time(one: int, moment: float) -> int:
    """Return 64 bits that stand for a point and its approximate time."""
    return (one + int(moment) * 0x9E3779B97F4A7C15) % 2**64 - 2**63


def _concerns(record: AnyRecord, tracker: Tracker) -> bool:
    if tracker.measures:
        return meter_of(record) == tracker.name
    return isinstance(record, Metrics) and record.by != tracker.name and "metrics" in tracker.supports


def _different(names: Iterable[str]) -> list[str]:
    """List the first few different names."""
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        if len(found) == EXAMPLES:
            break
    return list(found)


def _named(one: Identity) -> str:
    key, step, value = one
    return f"{key[:60]} = {value} at step {step}"
