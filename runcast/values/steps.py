"""What a script gives as a step becomes an int of 64 bits, or a reason why it cannot."""

from typing import Any, NamedTuple

from runcast.core.foreign import attempt
from runcast.values.numbers import NotANumber, a, is_on_device, to_number

FIRST, LAST = -(2**63), 2**63 - 1  # what services keep a step in


class GivenStep(NamedTuple):
    """The number of a step, None if it is none, and what is to be said of it, if anything."""

    number: int | None
    complaint: str = ""


def to_step(given: Any) -> GivenStep:
    """Read a step; one that is no whole number is cut, and one on a device is not waited for."""
    complaint = f"is {a(type(given))} and not a whole number of 64 bits, so the last step was used"
    if attempt(lambda: is_on_device(given), lambda _: False):
        return GivenStep(None, f"{complaint}: it is on a device, which would have to be waited for. Give int(step)")
    try:
        value = to_number(given)
        number = int(value)
    except (NotANumber, ValueError, OverflowError):
        return GivenStep(None, complaint)
    if not FIRST <= number <= LAST:
        return GivenStep(None, complaint)
    return GivenStep(
        number, "" if number == value else f"is {value!r} and not a whole number, so step {number} was used"
    )
