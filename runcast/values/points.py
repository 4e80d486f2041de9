"""Points of metrics: a single one, and a compact list for reading back long runs."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

from runcast.values.scalars import Number

EXACT = 2**53  # up to which a float is exact for ints


class Point(NamedTuple):
    """One number of one metric, as a Tracker receives it and reads it back.

    `step` is the optimizer step, `time` the moment of `log` in seconds since the epoch (0.0 where a reader does not
    know it).
    """

    key: str
    value: Number
    step: int
    time: float = 0.0


class PointList(Sequence[Point]):
    """A list of points at about 30 bytes each, where a list of Points takes 200."""

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._names: dict[str, int] = {}
        self._keys: list[str] = []
        self._key, self._value, self._is_int = array("L"), array("d"), bytearray()
        self._step, self._time = array("q"), array("d")
        self._odd: dict[int, tuple[Number, int]] = {}  # the values and steps that the arrays cannot hold exactly
        for point in points:
            self.append(point)

    def append(self, point: Point) -> None:
        """Add a point at the end."""
        key, value, step, time = point
        number = self._names.get(key)
        if number is None:
            number = self._names[key] = len(self._keys)
            self._keys.append(key)
        is_int = type(value) is int
        if not (is_int or type(value) is float) or (is_int and abs(value) > EXACT) or not -(2**63) <= step < 2**63:
            self._odd[len(self._key)] = (value, step)
            value, step = 0.0, 0
        self._key.append(number)
        self._value.append(value)
        self._is_int.append(is_int)
        self._step.append(step)
        self._time.append(time)

    def _at(self, index: int) -> Point:
        value, step = self._odd.get(index, (self._value[index], self._step[index]))
        if self._is_int[index]:
            value = int(value)
        return Point(self._keys[self._key[index]], value, step, self._time[index])

    def __len__(self) -> int:
        return len(self._key)

    def __iter__(self) -> Iterator[Point]:
        return map(self._at, range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Point: ...
    @overload
    def __getitem__(self, index: slice) -> list[Point]: ...
    def __getitem__(self, index: int | slice) -> Point | list[Point]:
        if isinstance(index, slice):
            return list(map(self._at, range(*index.indices(len(self)))))
        return self._at(range(len(self))[index])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))
