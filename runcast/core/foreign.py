"""Code that belongs to somebody else: what it raises while a value is read never reaches the training.

A value's `__float__`, a key's `__str__` or a config's `to_dict` may raise anything, also what does not derive from
Exception, such as a panic in a Rust extension. Three exceptions mean the process and not the value, because a signal's
handler raises them wherever the process happens to be: those pass.
"""

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
Other = TypeVar("Other")

PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)
MAX_CHARS = 300


def attempt(call: Callable[[], Value], otherwise: Callable[[BaseException], Other]) -> Value | Other:
    """Return what *call* returns, or what *otherwise* makes of the exception that it raised."""
    try:
        return call()
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001 - see above
        return otherwise(error)


def described(error: BaseException) -> str:
    """Describe an exception by its class and its message, whose own code may raise, too."""
    name = type(error).__name__
    text = attempt(lambda: str(error), lambda _: "")
    return f"{name}: {text[:MAX_CHARS]}" if text else name
