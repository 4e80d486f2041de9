"""Foreign code: an exception that it raises while a value is read never reaches the training.

A value's `__float__`, a key's `__str__` or a config's `to_dict` may raise anything, even something that does not derive
from Exception, such as a panic in a Rust extension. What a signal handler raises at an arbitrary point concerns the
process and not the value: an interrupt, or the script's own exception for a timeout or a preemption. It propagates.
"""

import signal
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")
Other = TypeVar("Other")

MAX_CHARS = 300


def attempt(call: Callable[[], Value], otherwise: Callable[[BaseException], Other]) -> Value | Other:
    """Return the result of *call*, or of *otherwise* for the exception that it raised."""
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - see above
        pass_on(error)
        return otherwise(error)


def pass_on(error: BaseException) -> None:
    """Raise an exception again if it ends a process, or if one of the script's signal handlers has raised it."""
    codes = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code not in codes:
        trace = trace.tb_next
    if trace is not None or isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        raise error


def described(error: BaseException) -> str:
    """Describe an exception by its class and message, even if its own `__str__` raises."""
    name = type(error).__name__
    text = attempt(lambda: str(error), lambda _: "")
    return f"{name}: {text[:MAX_CHARS]}" if text else name
