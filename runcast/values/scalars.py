"""The scalars of a journal: numbers, names for non-finite ones, and text that UTF-8 can hold.

JSON cannot hold the three non-finite floats: they are written as the strings "NaN", "Infinity" and "-Infinity" (the
convention of Protocol Buffers).
"""

import math
from typing import Any, Literal, TypeAlias

Number: TypeAlias = float | int
ParamValue: TypeAlias = str | int | float | bool | None

INTS = range(-(2**63), 2**63)  # of 64 bits, which is what services hold
TRUE, FALSE = ("1", "on", "yes", "true"), ("0", "off", "no", "false")  # in variables and settings, in any case
NonFinite: TypeAlias = Literal["NaN", "Infinity", "-Infinity"]
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def without_surrogates(text: str) -> str:
    r"""Escape each lone surrogate (`\udc80`), which neither UTF-8 nor JSON can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def encodable(value: Number) -> Number | NonFinite:
    """Return a number in a form that JSON can hold: the three non-finite floats become strings."""
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def finite_or_text(value: Any) -> Any:
    """Return a value; the text of a float that is not finite, for services whose JSON has neither it nor our names."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def decoded(value: Any) -> Any:
    """Return a value with a number in place of the string that `encodable` made of it."""
    return NON_FINITE.get(value, value) if isinstance(value, str) else value
