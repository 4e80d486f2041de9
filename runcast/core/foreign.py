"""Foreign code: an exception that it raises while a value is read never reaches the training.

A value's `__float__`, a key's `__str__` or a config's `to_dict` may raise anything, even something that does not derive
from Exception, such as a panic in a Rust extension. Three exceptions concern the process and not the value, because
signal handlers raise them at arbitrary points: those propagate.
"""

from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
Other = TypeVar("Other")

PASSING = (KeyboardInterrupt, SystemExit, GeneratorExit)
MAX_CHARS = 300


def attempt(call: Callable[[], Value], otherwise: Callable[[BaseException], Other]) -> Value | Other:
    """Return the result of *call*, or of *otherwise* for the exception that it raised."""
    try:
        return call()
    except PASSING:
        raise
    except BaseException as error:  # noqa: BLE001 - see above
        return otherwise(error)


def described(error: BaseException) -> str:
    """Describe an exception by its class and message, even if its own `__str__` raises."""
    name = type(error).__name__
    text = attempt(lambda: str(error), lambda _: "")
    return f"{name}: {text[:MAX_CHARS]}" if text else name
