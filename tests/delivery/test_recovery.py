"""What a tracker lacks is the journal's points minus those that it shows, each as often as it lacks."""

import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from runcast.delivery.recovery import canonical, identity, journal_points, mark, missing
from runcast.journal.records import Metrics, Tags, encode
from runcast.values.points import Point

A, B, NAN = Point("a", 0.5, 0, 1.0), Point("b", 2, 3, 1.0), Point("a", math.nan, 1, 1.0)


@pytest.mark.parametrize(
    ("expected", "seen", "lacking"),
    [
        ([A, B, NAN], [], [A, B, NAN]),
        ([A, B, NAN], [NAN, B, A], []),
        ([A, B], [A, Point("b", 2.0, 3, 99.0)], []),
        ([A, A, A], [A], [A, A]),
        ([A, NAN, NAN], [NAN], [A, NAN]),
        ([A], [A, A, B], []),
        ([A], [A._replace(step=1), A._replace(value=0.25), A._replace(key="A")], [A]),
        ([], [A], []),
    ],
)
def test_points_are_compared_by_key_step_and_value(
    expected: list[Point], seen: list[Point], lacking: list[Point]
) -> None:
    """Times and the type of a number do not matter, repeated points count, NaN equals NaN."""
    assert list(map(identity, missing(expected, map(mark, seen), str))) == list(map(identity, lacking))


def test_points_are_compared_under_the_services_names() -> None:
    """What is sent again has the name that the service knows."""
    assert missing([A, B], [mark(Point("A", 0.5, 0))], str.upper) == [Point("B", 2, 3, 1.0)]


@pytest.mark.parametrize(
    ("value", "float64", "float32"),
    [
        (0.5, 0.5, 0.5),
        (0.1, 0.1, 0.10000000149011612),
        (1e300, 1e300, math.inf),
        (-1e300, -1e300, -math.inf),
        (1e-50, 1e-50, 0.0),
        (2**53 + 1, 9007199254740992.0, 9007199254740992.0),
        (math.inf, math.inf, math.inf),
        (math.nan, "NaN", "NaN"),
        (True, 1.0, 1.0),
    ],
)
def test_a_value_is_compared_as_the_service_keeps_it(value: float, float64: object, float32: object) -> None:
    """A service of 32-bit floats has a point if it has the nearest 32-bit float."""
    assert canonical(value) == float64
    assert canonical(value, "float32") == float32


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([0.5, math.nan, 1.0]), st.integers(0, 2))), st.data())
def test_what_is_missing_and_what_is_seen_make_the_whole(
    points: list[tuple[str, float, int]], data: st.DataObject
) -> None:
    """For any part that a service has, sending what is missing makes it whole, without a point too many."""
    expected = [Point(*point) for point in points]
    kept = data.draw(st.lists(st.booleans(), min_size=len(expected), max_size=len(expected)))
    seen = [point for point, keep in zip(expected, kept, strict=True) if keep]

    found = [*seen, *missing(expected, map(mark, seen), str)]

    assert sorted(map(identity, found), key=str) == sorted(map(identity, expected), key=str)


@pytest.mark.damages_journals
def test_a_journals_points_are_listed_up_to_an_offset(tmp_path: Path) -> None:
    """Points behind the offset, other records and what the tracker itself measured do not count."""
    lines = [
        encode(Metrics(time=1.0, step=0, values={"a": 0.5, "b": "Infinity"})) + b"\n",
        encode(Tags(time=1.0, tags=["t"])) + b"\n",
        encode(Metrics(time=1.0, step=1, values={"energy": 7}, by="meter")) + b"\n",
        b"garbage\n",
        encode(Metrics(time=2.0, step=2, values={"a": 0.25})) + b"\n",
    ]
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(lines))

    everything = list(journal_points(path))
    early = list(journal_points(path, len(b"".join(lines[:3])), without="meter"))

    assert everything == [
        Point("a", 0.5, 0, 1.0),
        Point("b", math.inf, 0, 1.0),
        Point("energy", 7, 1, 1.0),
        Point("a", 0.25, 2, 2.0),
    ]
    assert early == [Point("a", 0.5, 0, 1.0), Point("b", math.inf, 0, 1.0)]


SAME = [
    (0.0, -0.0),
    (1, 1.0),
    (True, 1),
    (math.nan, -math.nan),
    (struct.unpack("<d", b"\1" * 6 + b"\xff\x7f")[0], math.nan),
]


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (-1.0, -2.0),  # each pair has one `hash` as a number
        (0.5, 2**60),
        (math.inf, 314159.0),
        (-math.inf, -314159.0),
        (0.0, 2.0**61 - 1),
        (1.0, 2.0**61),
        (math.nan, 0.0),
        (math.nan, math.inf),
        (math.inf, -math.inf),
        (-1, -2),
        (2**61, 1),
    ],
)
def test_points_of_different_values_are_never_the_same(one: float, other: float, precision: str) -> None:
    """Whatever Python's `hash` of two numbers is, a point of one is not taken for a point of the other."""
    first, second = Point("loss", one, 3), Point("loss", other, 3)

    assert mark(first, precision) != mark(second, precision)
    assert missing([first, second], [mark(first, precision)], str, precision) == [second]


@pytest.mark.parametrize(
    "other", [Point("loss", 0.5, -2), Point("loss", 0.5, 2**61 - 2), Point("losS", 0.5, -1), Point("los", 0.5, -1)]
)
def test_points_of_different_steps_and_keys_are_never_the_same(other: Point) -> None:
    """A step of -1 is not one of -2, which have one `hash`."""
    assert mark(Point("loss", 0.5, -1)) != mark(other)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_a_number_is_itself_whatever_its_type(one: float, other: float) -> None:
    """Equal numbers are the same point: bools, ints and floats, both zeros, and every NaN."""
    assert mark(Point("loss", one, 3)) == mark(Point("loss", other, 3))


def test_a_step_or_a_value_beyond_what_is_packed_has_a_mark() -> None:
    """A reader may find anything: a step of more than 64 bits, a value beyond 32-bit floats, a lone surrogate."""
    huge, wide = Point("loss", 0.5, 2**64), Point("loss", 1e300, 1)

    assert mark(huge) != mark(huge._replace(step=2**64 + 1)) != mark(huge._replace(value=0.25, step=2**64 + 1))
    assert mark(wide, "float32") == mark(wide._replace(value=math.inf), "float32")
    assert mark(Point("\ud800", 0.5, 1)) != mark(Point("?", 0.5, 1))
