"""Sending points so that each arrives exactly once: also when a call fails half-way, or the last process was killed."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from runcast.core.errors import FinalError, GoneError
from runcast.core.records import Point
from runcast.delivery.attempts import Attempts
from runcast.delivery.naming import ServiceNames
from runcast.delivery.recovery import Identity, identity, journal_points, missing
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
        self._refused: Counter[Identity] = Counter()
        self._later: Counter[Identity] = Counter()  # that were set aside, to be sent after the batch under way

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
        lacking: list[Point] = []

        def look() -> None:
            lacking[:] = self._missing(end)

        self._attempts("read", look)
        self._send_in_turn([lacking[at : at + BATCH_POINTS] for at in range(0, len(lacking), BATCH_POINTS)], end)
        return len(lacking)

    def _send_in_turn(self, batches: list[list[Point]], end: int) -> None:
        """Send several batches that reach up to the same offset; none is taken for a lack of one before it."""
        for batch in batches:
            self._later.update(self._identities(batch))
        for batch in batches:
            self._later.subtract(self._identities(batch))
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
                middle = len(batch) // 2
                self._send_in_turn([batch[:middle], batch[middle:]], end)
            elif batch:
                self._refused[identity(batch[0], self._tracker.precision)] += 1
                self._refuse(f"point: {error}")

    def _log(self, batch: list[Point]) -> None:
        if batch:
            self._tracker.log_metrics(batch)
            self._tracker.flush()

    def _keep_unseen(self, batch: list[Point], end: int) -> None:
        """Shrink a batch whose sending failed to what the tracker really lacks of it."""
        lacking = self._identities(self._missing(end)) - self._later
        kept = []
        for point in batch:
            key = identity(point, self._tracker.precision)
            if lacking[key] > 0:
                lacking[key] -= 1
                kept.append(point)
        batch[:] = kept

    def _identities(self, points: Iterable[Point]) -> "Counter[Identity]":
        return Counter(identity(point, self._tracker.precision) for point in points)

    def _missing(self, end: int) -> list[Point]:
        expected = journal_points(self._journal, end, without=self._tracker.name)
        refused = (
            Point(key, float("nan") if isinstance(value, str) else value, step)
            for key, step, value in self._refused.elements()
        )
        seen = chain(self._tracker.read(self._tracked).points, refused)
        return missing(expected, seen, self._names.metric, self._tracker.precision)
