"""Many points in little memory come back as they were."""

import math
import sys
import tracemalloc

from hypothesis import given, strategies as st

from runcast.values.points import Point, PointList

VALUES = st.one_of(st.floats(allow_nan=False), st.integers(), st.booleans())
POINTS = st.lists(st.builds(Point, st.text(max_size=3), VALUES, st.integers(-(2**63), 2**63 - 1), st.floats(0, 2**40)))


@given(POINTS)
def test_points_come_back_as_they_were(points: list[Point]) -> None:
    """With their types, in their order, by index, by slice, and compared from either side."""
    kept = PointList(points)

    assert kept == points
    assert points == kept
    assert [type(point.value) for point in kept] == [type(point.value) for point in points]
    assert [kept[index] for index in range(-len(points), len(points))] == points * 2
    assert kept[1::2] == points[1::2]
    assert repr(kept) == repr(points)
    assert kept != [*points, Point("another", 1.0, 0)]


def test_what_an_array_cannot_hold_is_kept_beside_it() -> None:
    """NaN, an integer that no float is, and a step of more than 64 bits."""
    kept = PointList([Point("a", math.nan, 0), Point("a", 2**53 + 1, 2**70, 1.0), Point("b", 10**400, 0)])

    assert math.isnan(kept[0].value)
    assert list(kept)[1:] == [Point("a", 2**53 + 1, 2**70, 1.0), Point("b", 10**400, 0)]


def test_a_point_takes_about_forty_bytes() -> None:
    """A run of ten million points is read in half a gigabyte."""
    tracemalloc.start()
    kept = PointList(Point(f"metric{index % 10}", index / 3, index, 1.7e9 + index) for index in range(100_000))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(kept) == 100_000
    assert size < 45 * len(kept) < sys.getsizeof(kept[0]) * len(kept)
