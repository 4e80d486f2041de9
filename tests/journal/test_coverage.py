"""How much of a training a meter has measured."""

import pytest

from runcast.journal.coverage import Coverage
from runcast.journal.records import Finish, Metrics, Start, Summary


def start(time: float, session: int = 1) -> Start:
    """Make the record of a session that begins."""
    return Start(time=time, version=1, session=session, host="h", pid=1)


def test_sessions_add_up_and_pauses_between_them_do_not_count() -> None:
    """A session that was killed lasted until its last record, and what the meter writes is no sign of life."""
    coverage = Coverage()
    records = [
        start(100.0),
        Metrics(time=130.0, step=1, values={"loss": 1.0}),
        Metrics(time=170.0, step=1, values={"meter/measured_s": 1.0}, by="meter"),  # behind a kill at 130
        start(500.0, 2),
        Finish(time=512.0, status="finished"),
        Summary(time=512.5, values={"meter/measured_s": 2.0}, by="meter"),
    ]

    for record in records:
        coverage.see(record, "meter")

    assert coverage.trained_s == 30.0 + 12.0
    assert coverage.lasted_s(9999.0) == 42.0


def test_what_is_measured_behind_the_end_is_not_of_the_training() -> None:
    """A meter that starts 3 s late and is stopped 5 s late has measured 42 of 45 s, whatever its own clock says."""
    coverage = Coverage()
    coverage.see(start(1000.0), "meter")
    coverage.measure(27.0, 1030.0)
    coverage.see(Finish(time=1045.0, status="finished"), "meter")

    coverage.measure(47.0, 1050.0)

    assert str(coverage) == "measured 42 of 45 s"


@pytest.mark.parametrize(
    ("measured_s", "lasted_s", "said"),
    [(0.03, 12.0, "measured 0 of 12 s"), (1.25, 4.0, "measured 1.2 of 4.0 s"), (0.0, 0.0, "measured 0.0 of 0.0 s")],
)
def test_short_trainings_are_told_in_tenths(measured_s: float, lasted_s: float, said: str) -> None:
    """Ten seconds and more are told in whole ones."""
    assert str(Coverage(trained_s=lasted_s, measured_s=measured_s)) == said


def test_half_of_the_training_stands_for_it_and_less_does_not() -> None:
    """While a session goes on, it counts up to now."""
    coverage = Coverage(measured_s=6.0, began=100.0)

    assert coverage.is_enough(112.0)
    assert not coverage.is_enough(112.5)
    assert coverage.will_be_enough(1.0, 114.0)
