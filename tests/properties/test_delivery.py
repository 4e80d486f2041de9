"""However a tracker fails and its delivery dies, each point is there once, or was refused and counted."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import example, given, strategies as st

import runcast
from runcast.core.errors import FinalError, RetryableError
from runcast.delivery import attempts
from runcast.delivery.loop import Delivery
from runcast.delivery.recovery import identity
from runcast.delivery.tracked import tracked_run
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.journal.state import DeliveryState
from runcast.testing import MemoryTracker
from runcast.values.points import Point
from tests.properties.conftest import examples


class Death(BaseException):
    """Stands for SIGKILL within one process: nothing may catch it."""


class Fated(MemoryTracker):
    """Meets what its fate holds, one thing for each batch: it takes a part of it, then fails or dies."""

    name = "fated"
    fate: "itertools.chain[tuple[str, float]]"

    def log_metrics(self, points: Sequence[Point]) -> None:
        how, share = next(self.fate)
        taken = points[: round(len(points) * share)]
        if how == "picky" and any(point.value == 13 for point in points):
            raise FinalError("thirteen is refused")
        if how in ("away", "odd", "death"):
            super().log_metrics(taken)
            raise {"away": RetryableError("away"), "odd": ValueError("odd"), "death": Death()}[how]
        super().log_metrics(points)


FATES = st.lists(st.tuples(st.sampled_from(["fine", "away", "odd", "death", "picky"]), st.floats(0, 1)), max_size=12)
CALLS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from("abc"), st.integers(10, 15) | st.just(float("nan")), min_size=1),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=20,
)


@examples(0.1)
@given(CALLS, FATES)
@example(calls=[({"a": 10}, 0), ({"a": 10}, 0)], fates=[("away", 0.5), ("away", 0.0)])  # one of two equal points
def test_each_point_arrives_once_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[dict[str, float], int]], fates: list[tuple[str, float]]
) -> None:
    """Half-taken batches, services that are away, exceptions that nobody knows and deaths: then the next delivery mends it."""
    root = tmp_path_factory.getbasetemp() / "delivery"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNCAST_QUIET", "1")
        patch.setattr(attempts, "backoff_s", lambda attempt, wished_s=None: 0.0)
        patch.setattr(attempts, "ONCE_PAUSE_S", 0.0)
        run = runcast.init("p", report_to="none", dir=root)
        for values, step in calls:
            run.log(values, step=step)
        run.finish()
        fate = itertools.chain(fates, itertools.repeat(("fine", 1.0)))
        while deliver(RunDirectory(run.dir), fate).phase != "finished":
            pass

    state = deliver(RunDirectory(run.dir), fate)
    logged = Counter(identity(Point(key, value, step)) for values, step in calls for key, value in values.items())
    found = Counter(identity(point) for point in Fated.reading_of(run.dir).points)
    assert found - logged == Counter()
    assert (logged - found).total() == sum(state.refused.values())
    assert state.points == found.total()


def deliver(directory: RunDirectory, fate: "itertools.chain[tuple[str, float]]") -> DeliveryState:
    """Deliver until it ends, or dies as a killed process does: without a word."""
    tracker = Fated()
    tracker.fate = fate
    choice = TrackerChoice(tracker="", online=False, reason="test")
    tracked = tracked_run(directory, directory.load(), "fated", choice)
    delivery = Delivery(directory, "fated", tracker, tracked, alive=lambda: False, wait=lambda s: None, follow=False)
    try:
        return delivery.run()
    except Death:
        return delivery.state
