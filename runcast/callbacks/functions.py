"""A callback made of functions, one for each event that one cares about."""

from collections.abc import Callable
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import EVENTS, TrainerCallback


class LambdaCallback(TrainerCallback):
    """Functions called on events: `LambdaCallback(on_log=lambda args, state, control, logs, **kwargs: print(logs))`.

    For one function on one event, with filters, `trainer.add_callback("on_epoch_end", function, every=5)` is shorter.
    """

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for event, function in functions.items():
            if event not in EVENTS:
                raise OptionError(f"{event!r} is no event. The events are: {', '.join(EVENTS)}.")
            setattr(self, event, function)
