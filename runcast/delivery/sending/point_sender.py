"""Exactly-once sending of values, even if a call fails half-way or the previous process was killed."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError, GoneError
from runcast.delivery.attempts import Attempts
from runcast.delivery.recovery import identity, journal_points, mark, missing
from runcast.delivery.sending.naming import ServiceNames
from runcast.delivery.sending.narrowing import Narrowing
from runcast.delivery.sending.refusals import Refuse
from runcast.integrations.contract import TrackedRun, Tracker
from runcast.values.points import EXACT, Point, PointList

BATCH_POINTS = 5000
FLOAT32_MAX = 3.4028234663852886e38


class PointSender:
    """The sender of points to one tracker, in batches."""

    def __init__(
        self,
        tracker: Tracker,
        tracked: TrackedRun,
        journal: Path,
        names: ServiceNames,
        attempts: Attempts,
        refuse: Refuse,
    ) -> None:
        self._tracker, self._tracked, self._journal = tracker, tracked, journal
        self._names, self._attempts, self._tell = names, attempts, refuse
        self._refused: Counter[int] = Counter()

    @property
    def refused(self) -> int:
        """Count the points that the service will not have."""
        return self._refused.total()

    def send(self, points: list[Point], end: int) -> int:
        """Send points of the journal up to the offset *end*; return how many the service has accepted."""
        name, refused = self._names.metric, self.refused
        self._send([Point(name(key), value, step, time) for key, value, step, time in points], end)
        return len(points) - (self.refused - refused)

    def send_missing(self, end: int) -> int:
        """Send the points up to an offset that the tracker lacks; return how many of them it took."""
        lacking, refused = PointList(), self.refused

        def look() -> None:
            nonlocal lacking
            logged = journal_points(self._journal, end, without=self._tracker.name)
            seen = chain(self._seen(), self._refused.elements())
            lacking = missing(logged, seen, self._names.metric, self._tracker.precision)

        self._attempts("read", look)
        for at in range(0, len(lacking), BATCH_POINTS):
            batch = lacking[at : at + BATCH_POINTS]
            self._send(batch, end, partial(map, lacking.__getitem__, range(at + len(batch), len(lacking))))
        return len(lacking) - (self.refused - refused)

    def _send(self, batch: list[Point], end: int, later: Callable[[], Iterable[Point]] = tuple) -> None:
        """Send a batch; values that the service refuses are found and counted, and the rest arrives.

        Of the points up to *end*, those in *later* have not arrived yet either.
        """
        request = _Request(self, batch, end, later)
        rest, error = request.send(batch)
        if error is not None and rest:
            orders = (_kind_of_point, lambda point: point.key, _value, lambda point: point.step)
            Narrowing(request.send, request.refuse, orders, self._label).run(rest, error)

    def refuse(self, points: list[Point], reason: str) -> None:
        """Count points that the service will not have."""
        self._refused.update(map(self._mark, points))
        self._tell(f"point: {reason}", [point.key for point in points])

    def _log(self, batch: list[Point]) -> None:
        if batch:
            self._tracker.log_metrics(batch)
            self._tracker.flush()

    def _mark(self, point: Point) -> int:
        return mark(point, self._tracker.precision)

    def _label(self, point: Any) -> Any:
        return identity(point, self._tracker.precision) if isinstance(point, Point) else point

    def _seen(self) -> Iterator[int]:
        return map(self._mark, self._tracker.read(self._tracked).points)


class _Request:
    """A batch in flight, whole or in parts, and its known outcome."""

    def __init__(self, sender: PointSender, batch: list[Point], end: int, later: Callable[[], Iterable[Point]]) -> None:
        self._sender, self._end, self._later = sender, end, later
        self._pending = Counter(map(sender._mark, batch))  # unsent, or refused together
        self._due: Counter[int] | None = None  # how often each of its points must be present in the end
        self._in_vain: set[type[Exception]] = set()

    def send(self, part: list[Point]) -> tuple[list[Point], FinalError | None]:
        """Send a part; return what did not arrive, and the error."""
        sender, rest, refusal = self._sender, list(part), None
        own = Counter(map(sender._mark, part))

        def look() -> None:
            rest[:] = self._lacking(rest, own)

        try:
            sender._attempts("log_metrics", lambda: sender._log(rest), look, self._in_vain)
            rest = []
        except GoneError:
            raise
        except FinalError as error:
            refusal = error
            sender._attempts("read", look)
        self._pending.subtract(own)
        self._pending.update(map(sender._mark, rest))
        return rest, refusal

    def refuse(self, points: list[Point], reason: str) -> None:
        """Count points of the batch that the service will not have."""
        self._pending.subtract(map(self._sender._mark, points))
        self._sender.refuse(points, reason)

    def _lacking(self, rest: list[Point], own: Counter[int]) -> list[Point]:
        """Ask the tracker what it lacks of the *rest* of a part that failed; *own* has the marks of the whole part."""
        sender = self._sender
        seen = Counter(one for one in sender._seen() if one in own)
        due = self._count_due()
        lacking = {one: due[one] - sender._refused[one] - seen[one] - self._pending[one] + own[one] for one in own}
        kept = []
        for point in rest:
            one = sender._mark(point)
            if lacking[one] > 0:
                lacking[one] -= 1
                kept.append(point)
        return kept

    def _count_due(self) -> Mapping[int, int]:
        if self._due is None:
            sender, batch = self._sender, set(self._pending)
            name = sender._names.metric
            logged = journal_points(sender._journal, self._end, without=sender._tracker.name)
            marks = (sender._mark(point._replace(key=name(point.key))) for point in logged)
            self._due = Counter(one for one in marks if one in batch)
            self._due.subtract(one for one in map(sender._mark, self._later()) if one in batch)
        return self._due


def send_values(
    what: str, values: list[Any], call: Callable[[list[Any]], object], *, attempts: Attempts, refuse: Refuse
) -> None:
    """Send pairs of a key and a value, or tags; refused ones are found and counted, and the rest arrives.

    All of it may be sent again, because the last value of a key wins.
    """
    in_vain: set[type[Exception]] = set()

    def send(part: list[Any]) -> tuple[list[Any], FinalError | None]:
        try:
            attempts(what, lambda: call(part), in_vain=in_vain)
        except GoneError:
            raise
        except FinalError as error:
            return part, error
        return [], None

    def give_up(part: list[Any], reason: str) -> None:
        refuse(f"{what}: {reason}", list(map(_name, part)))

    rest, error = send(values) if values else ([], None)
    if error is not None:
        Narrowing(send, give_up, (_kind_of_value, _name, _length), _name).run(rest, error)


def _kind_of_point(point: Point) -> tuple[Any, ...]:
    key, value, step, _ = point
    size = abs(value)
    odd = (value != value, size == math.inf, size > FLOAT32_MAX, type(value) is int and size > EXACT)
    return (*odd, (value > 0) - (value < 0), step < 0, step >= 2**31, step >= EXACT, *_kind_of_key(key))


def _value(point: Point) -> tuple[bool, float]:
    return point.value != point.value, point.value


def _kind_of_key(key: str) -> tuple[Any, ...]:
    return len(key) > 250, len(key) > 100, key.isascii(), "".join(sorted({each for each in key if not each.isalnum()}))


def _name(value: Any) -> str:
    return value if isinstance(value, str) else str(value[0])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value[1])


def _length(value: Any) -> int:
    return len(_text(value))


def _kind_of_value(value: Any) -> tuple[Any, ...]:
    is_text = isinstance(value, str) or isinstance(value[1], str)
    kind = "" if is_text else type(value[1]).__name__
    return (_length(value).bit_length(), kind, _text(value).isascii(), *_kind_of_key(_name(value)))
