"""Conversion of a script's step to a 64-bit int, or to a reason why it cannot be one."""

from typing import Any, NamedTuple

from runcast.core.foreign import attempt
from runcast.values.numbers import NotANumber, a, is_on_device, to_number
from runcast.values.scalars import INTS

FIRST, LAST = INTS[0], INTS[-1]


class GivenStep(NamedTuple):
    """A step as a number, or None, with a message about it, if any; or a number between two steps, such as 1.7."""

    number: int | None
    complaint: str = ""
    between: float | None = None


def to_step(given: Any) -> GivenStep:
    """Read a step; a step on a device is not waited for."""
    complaint = f"is {a(type(given))} and not a whole number of 64 bits, so the last step was used"
    if attempt(lambda: is_on_device(given), lambda _: False):
        return GivenStep(None, f"{complaint}: reading it would wait for its device. Pass int(step)")
    try:
        value = to_number(given)
        number = int(value)
    except (NotANumber, ValueError, OverflowError):
        return GivenStep(None, complaint)
    if not FIRST <= number <= LAST:
        return GivenStep(None, complaint)
    return GivenStep(number) if number == value else GivenStep(None, between=float(value))
