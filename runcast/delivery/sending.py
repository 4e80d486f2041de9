"""Sending points so that each arrives exactly once: also when a call fails half-way, or the last process was killed."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from runcast.core.errors import FinalError, GoneError
from runcast.core.points import PointList
from runcast.core.records import Point
from runcast.delivery.attempts import Attempts
from runcast.delivery.naming import ServiceNames
from runcast.delivery.recovery import journal_points, mark, missing
from runcast.integrations.contract import TrackedRun, Tracker

BATCH_POINTS = 5000


class PointSender:
    """Sends batches of points to one tracker.

    `refuse` is told, with the reason, of each that the service will not have.
    """

    def __init__(
        self,
        tracker: Tracker,
        tracked: TrackedRun,
        journal: Path,
        names: ServiceNames,
        attempts: Attempts,
        refuse: Callable[[str], None],
    ) -> None:
        self._tracker, self._tracked, self._journal = tracker, tracked, journal
        self._names, self._attempts, self._refuse = names, attempts, refuse
        self._refused: Counter[int] = Counter()
        self._later: Counter[int] = Counter()  # that were set aside, to be sent after the batch under way

    @property
    def refused(self) -> int:
        """Count the points that the service will not have."""
        return self._refused.total()

    def send(self, points: list[Point], end: int) -> int:
        """Send points of the journal, *end* is the offset behind them; return how many the service has taken."""
        name, refused = self._names.metric, self.refused
        self._send([Point(name(key), value, step, time) for key, value, step, time in points], end)
        return len(points) - (self.refused - refused)

    def send_missing(self, end: int) -> int:
        """Send again what the tracker lacks of the journal up to an offset; return how many points that were."""
        lacking = PointList()

        def look() -> None:
            nonlocal lacking
            lacking = self._missing(end)

        self._attempts("read", look)
        self._send_in_turn(lacking, BATCH_POINTS, end)
        return len(lacking)

    def _send_in_turn(self, points: Sequence[Point], size: int, end: int) -> None:
        """Send points in batches that reach up to the same offset; none is taken for a lack of one before it."""
        self._later.update(map(self._mark, points))
        for at in range(0, len(points), size):
            batch = list(points[at : at + size])
            self._later.subtract(map(self._mark, batch))
            self._send(batch, end)

    def _send(self, batch: list[Point], end: int) -> None:
        """Send a batch; what the service refuses for good is found by halving, the rest arrives."""
        try:
            self._attempts("log_metrics", lambda: self._log(batch), lambda: self._keep_unseen(batch, end))
        except GoneError:
            raise
        except FinalError as error:
            self._attempts("read", lambda: self._keep_unseen(batch, end))
            if len(batch) > 1:
                self._send_in_turn(batch, (len(batch) + 1) // 2, end)
            elif batch:
                self._refused[self._mark(batch[0])] += 1
                self._refuse(f"point: {error}")

    def _log(self, batch: list[Point]) -> None:
        if batch:
            self._tracker.log_metrics(batch)
            self._tracker.flush()

    def _keep_unseen(self, batch: list[Point], end: int) -> None:
        """Shrink a batch whose sending failed to what the tracker really lacks of it."""
        lacking = Counter(map(self._mark, self._missing(end))) - self._later
        kept = []
        for point in batch:
            one = self._mark(point)
            if lacking[one] > 0:
                lacking[one] -= 1
                kept.append(point)
        batch[:] = kept

    def _mark(self, point: Point) -> int:
        return mark(point, self._tracker.precision)

    def _missing(self, end: int) -> PointList:
        expected = journal_points(self._journal, end, without=self._tracker.name)
        seen = chain(map(self._mark, self._tracker.read(self._tracked).points), self._refused.elements())
        return missing(expected, seen, self._names.metric, self._tracker.precision)
