"""The scalars of a journal: numbers, the words for non-finite ones, and text that UTF-8 can hold.

JSON has no word for the three non-finite floats: they stand as the strings "NaN", "Infinity" and "-Infinity" (the
convention of Protocol Buffers).
"""

from typing import Literal, TypeAlias

Number: TypeAlias = float | int
ParamValue: TypeAlias = str | int | float | bool | None

NonFinite: TypeAlias = Literal["NaN", "Infinity", "-Infinity"]
NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def without_surrogates(text: str) -> str:
    r"""Write each lone surrogate, which neither UTF-8 nor JSON can hold, as its escape (`\udc80`)."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def encodable(value: Number) -> Number | NonFinite:
    """Write a number as JSON can hold it: the three non-finite floats are words."""
    if value - value == 0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
