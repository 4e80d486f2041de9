"""Functions as callbacks, for one or two events that do not need a class."""

from collections.abc import Callable
from functools import partial
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import EVENTS, TrainerCallback


class LambdaCallback(TrainerCallback):
    """Functions called on events: `LambdaCallback(on_log=lambda args, state, control, logs, **kwargs: print(logs))`.

    `trainer.add_callback("on_epoch_end", function, every=5)` is the short form for one of them. The calls of each event
    are counted from 1, and the count survives a resume. Filters combine: all must hold.

    Args:
        every: Call on each n-th event.
        once: Call on the n-th event only; True is the first.
        before: Call on the events before the n-th.
        after: Call on the events after the n-th.
        functions: The function for each event.

    Raises:
        OptionError: There is no such event, or `every` would never call the function.
    """

    def __init__(
        self,
        *,
        every: int = 1,
        once: int | bool = False,
        before: int | None = None,
        after: int = 0,
        **functions: Callable[..., Any],
    ) -> None:
        if every < 1:
            raise OptionError(f"every={every} would never call the function. It counts events, from 1.")
        self._every, self._once, self._before, self._after = every, int(once), before, after
        self.calls = dict.fromkeys(functions, 0)
        self.functions = tuple(functions.values())
        self.name = ", ".join(getattr(function, "__qualname__", repr(function)) for function in self.functions)
        for event, function in functions.items():
            if event not in EVENTS:
                raise OptionError(f"{event!r} is not an event. The events are: {', '.join(EVENTS)}.")
            setattr(self, event, partial(self._call, event, function))

    def _call(self, event: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls[event] = calls = self.calls.get(event, 0) + 1
        if (
            calls % self._every
            or calls <= self._after
            or (self._once and calls != self._once)
            or (self._before and calls >= self._before)
        ):
            return None
        return function(*args, **kwargs)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: how often each event has occurred."""
        return {"args": {}, "attributes": {"calls": dict(self.calls)}}
