"""What a service refuses of a request is found in few calls, and all the rest arrives."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from runcast.core.errors import FinalError
from runcast.delivery.sending import point_sender as sending
from runcast.delivery.sending.narrowing import Narrowing, limit
from runcast.values.points import Point

COUNT = 5000
ONE_KEY = [Point("loss", 2 + math.sin(step), step) for step in range(COUNT)]
SOME_NEGATIVE = [p._replace(value=-p.value) if random.Random(p.step).random() < 0.2 else p for p in ONE_KEY]
FIFTY_KEYS = [Point(f"k{at % 50}", 2 + math.sin(at), at // 50) for at in range(COUNT)]
MIXED = [Point(f"layer/{at % 10}", math.sin(at), at // 10) for at in range(COUNT)]
ANYWHERE = frozenset(random.Random(1).sample(range(COUNT), 1024))


class Service:
    """Takes a request only if it holds no bad value."""

    def __init__(self, is_bad: Callable[[Any], bool], reason: Callable[[Any], str], names: int = 0) -> None:
        self.is_bad, self.reason, self.names = is_bad, reason, names
        self.calls = 0
        self.taken: list[Any] = []
        self.refused: list[tuple[Any, str]] = []

    def send(self, part: list[Any]) -> tuple[list[Any], FinalError | None]:
        self.calls += 1
        bad = [value for value in part if self.is_bad(value)]
        if bad:
            return part, FinalError(self.reason(bad[0]), refused=bad[: self.names])
        self.taken += part
        return [], None

    def refuse(self, values: Sequence[Any], reason: str) -> None:
        self.refused += [(value, reason) for value in values]

    def offer(self, values: list[Any]) -> None:
        """Send values as a delivery does."""
        orders = (sending._kind_of_point, lambda point: point.key, sending._value, lambda point: point.step)
        rest, error = self.send(list(values))
        if error is not None:
            Narrowing(self.send, self.refuse, orders, lambda point: point[:3]).run(rest, error)


def offer(points: list[Point], is_bad: Callable[[Point], bool], reason: Any = None, names: int = 0) -> Service:
    """Offer points to a service."""
    service = Service(is_bad, reason or (lambda point: "refused"), names)
    service.offer(points)
    return service


CASES: dict[str, tuple[list[Point], Callable[[Point], bool], int]] = {
    "everything": (ONE_KEY, lambda point: True, 25),
    "everything, of several keys and signs": (MIXED, lambda point: True, 40),
    "a fifth, by its sign": (SOME_NEGATIVE, lambda point: point.value < 0, 25),
    "half, by its sign, of ten keys": (MIXED, lambda point: point.value < 0, 40),
    "one key of fifty": (FIFTY_KEYS, lambda point: point.key == "k7", 40),
    "five keys of fifty": (FIFTY_KEYS, lambda point: point.key in ("k7", "k8", "k21", "k33", "k40"), 200),
    "late steps": (ONE_KEY, lambda point: point.step >= 4000, 150),
    "late steps of fifty keys": (FIFTY_KEYS, lambda point: point.step >= 90, 200),
    "great values": (ONE_KEY, lambda point: point.value > 2.5, 150),
    "a single one": (ONE_KEY, lambda point: point.step == 777, 40),
    "three anywhere": (ONE_KEY, lambda point: point.step in (3, 1777, 4321), 150),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_is_found_in_few_calls(case: str) -> None:
    """Whatever 5,000 points that are refused have in common: every other point arrives, after a bounded number of calls."""
    points, is_bad, calls = CASES[case]

    service = offer(points, is_bad)

    assert sorted(service.taken) == sorted(point for point in points if not is_bad(point))
    assert sorted(point for point, _ in service.refused) == sorted(filter(is_bad, points))
    assert service.calls <= calls


def test_calls_grow_with_the_logarithm_of_the_batch() -> None:
    """Sixteen times the points cost a few calls more, not sixteen times the calls."""
    calls = [offer(SOME_NEGATIVE[:count], lambda point: point.value < 0).calls for count in (300, 4800)]

    assert calls[1] <= calls[0] + 10


@pytest.mark.parametrize("is_anywhere", [False, True])
def test_a_hopeless_search_ends(is_anywhere: bool) -> None:
    """A thousand refused points that have nothing in common: the search ends at its limit, and says what it gave up."""
    service = offer(ONE_KEY, lambda point: point.step in ANYWHERE if is_anywhere else point.step % 5 == 0)

    assert service.calls <= limit(COUNT) + 10
    assert len(service.taken) + len(service.refused) == COUNT
    assert any("not all tried alone" in reason for _, reason in service.refused)


def test_each_reason_is_searched_for_by_itself() -> None:
    """Two reasons in one batch are both found, and each refused value is counted under its own."""
    points = [p._replace(value=math.inf) if p.step % 7 == 0 else p for p in SOME_NEGATIVE]

    service = offer(
        points,
        lambda point: not 0 <= point.value < math.inf,
        lambda point: "negative" if point.value < 0 else "infinite",
    )

    assert all(reason == ("negative" if point.value < 0 else "infinite") for point, reason in service.refused)
    assert len(service.taken) == sum(0 <= point.value < math.inf for point in points)
    assert service.calls <= 60


def test_reasons_that_differ_only_in_numbers_and_names_are_one() -> None:
    """A service that writes the key and the value into its answer gives one reason, not five thousand."""
    service = offer(MIXED, lambda point: True, lambda point: f"'{point.key}' = {point.value} is refused")

    assert service.calls <= 40


def test_what_a_tracker_names_is_dropped_and_the_rest_goes_on() -> None:
    """A thousand refused points that are named cost one more call."""
    service = offer(ONE_KEY, lambda point: point.step in ANYWHERE, names=COUNT)

    assert service.calls == 2
    assert {point.step for point, _ in service.refused} == ANYWHERE
    assert len(service.taken) == COUNT - len(ANYWHERE)


def test_a_tracker_that_names_one_at_a_time_is_not_followed_for_long() -> None:
    """Services that stop at the first bad value name that one alone; the others are found by what they have in common."""
    service = offer(SOME_NEGATIVE, lambda point: point.value < 0, names=1)

    assert {point.step for point, _ in service.refused} == {p.step for p in SOME_NEGATIVE if p.value < 0}
    assert service.calls <= 40


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([0.5, -1.0, math.inf, 0.0]), st.integers(-1, 9)),
        min_size=1,
        max_size=60,
    ),
    st.data(),
)
def test_nothing_is_lost_or_sent_twice(points: list[tuple[str, float, int]], data: st.DataObject) -> None:
    """Whichever three of some values are refused: exactly these are, and each other one arrives once."""
    values = [Point(*point, time=float(at)) for at, point in enumerate(points)]
    bad = data.draw(st.sets(st.integers(0, len(values) - 1), max_size=3))
    service = Service(lambda point: point.time in bad, lambda point: "refused")

    service.offer(values)

    assert sorted(point.time for point in service.taken) == [at for at in range(len(values)) if at not in bad]
    assert sorted(point.time for point, _ in service.refused) == sorted(bad)
