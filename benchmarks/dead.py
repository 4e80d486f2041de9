"""Two trackers as bad as they come. The training process imports this module too, so it must be light."""

import threading
from collections.abc import Sequence

from runcast import Point, Reading, TrackedRun, Tracker


class HangingTracker(Tracker):
    """Opens its run and never returns from its first batch."""

    name = "hanging"

    def setup(self, run: TrackedRun) -> None:
        """Succeed."""

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Wait for ever."""
        threading.Event().wait()

    def read(self, run: TrackedRun) -> Reading:
        """See nothing."""
        return Reading(points=[])


class RaisingTracker(HangingTracker):
    """Opens its run and raises at every batch."""

    name = "raising"

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Fail."""
        raise RuntimeError("this tracker is broken")
