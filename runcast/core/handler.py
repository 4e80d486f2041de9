"""The callback handler: calls each callback only for the hooks that it overrides."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from runcast.core.errors import OptionError, RuncastError
from runcast.core.events import EVENTS, SWITCHES, TrainerControl, TrainerState
from runcast.core.foreign import pass_on
from runcast.core.functions import LambdaCallback

_log = logging.getLogger("runcast.callbacks")

# The switches that each event resets before its callbacks are called, as in transformers.
_RESETS = {
    "on_train_begin": {"should_training_stop": False},
    "on_epoch_begin": {"should_epoch_stop": False},
    "on_step_begin": {"should_log": False, "should_evaluate": False, "should_save": False},
    "on_evaluate": {"should_evaluate": False},
    "on_save": {"should_save": False},
    "on_log": {"should_log": False},
}
# The events that end a training. Every callback gets them, whatever failed before, and none can hide the exception in
# flight.
_WAYS_OUT = ("on_exception", "teardown")


class CallbackHandler:
    """The callbacks in order; `context` holds the keyword arguments of every hook.

    `failures` counts the reporting callbacks that raised and were disabled. A disabled callback is still torn down.
    `events` holds the events that some callback listens to or that reset a switch: a loop can skip all others.
    """

    def __init__(self, callbacks: Iterable[Any] = (), **context: Any) -> None:
        self.callbacks: list[Any] = []
        self.context = context
        self.failures = 0
        self.events = set(_RESETS)
        self._disabled: list[Any] = []
        self._hooks: dict[str, list[tuple[Any, Callable[..., Any]]]] = {event: [] for event in EVENTS}
        for callback in callbacks:
            self.add_callback(callback)

    def add_callback(self, callback: Any, function: Callable[..., Any] | None = None, **filters: Any) -> Any:
        """Add a callback: an instance, a class, an (event, function) pair, or an event and a function with filters.

        Return the instance.

        Raises:
            OptionError: It is none of these, or the event does not exist.
        """
        if isinstance(callback, tuple) and len(callback) == 2:
            callback, function = callback
        if isinstance(callback, str):
            if not callable(function):
                raise OptionError(f"The callback on {callback!r} needs a function, not {function!r}.")
            wanted: dict[str, Any] = {callback: function, **filters}
            callback = LambdaCallback(**wanted)
        elif isinstance(callback, type):
            self._note_second(callback, any(type(other) is callback for other in self.callbacks))
            callback = callback()
        else:
            self._note_second(type(callback), any(other is callback for other in self.callbacks))
        hooks = {event: hook for event in EVENTS if (hook := _overridden(callback, event))}
        if not hooks and not any(base.__name__ == "TrainerCallback" for base in type(callback).__mro__):
            raise OptionError(
                f"{callback!r} is not a callback. Pass a TrainerCallback, its class, or an event's name and a function."
            )
        self.callbacks.append(callback)
        self.events.update(hooks)
        for event, hook in hooks.items():
            self._hooks[event].append((callback, hook))
        return callback

    def pop_callback(self, callback: Any) -> Any | None:
        """Remove a callback, given as an instance or a class, and return it; None if there is none."""
        for found in self.callbacks:
            is_it = isinstance(found, callback) if isinstance(callback, type) else found is callback
            if is_it or callback in getattr(found, "functions", ()):
                self.callbacks.remove(found)
                self._forget(found)
                return found
        return None

    def remove_callback(self, callback: Any) -> None:
        """Remove a callback, given as an instance, a class or a function."""
        self.pop_callback(callback)

    def has(self, event: str) -> bool:
        """Return whether any callback listens to an event."""
        return bool(self._hooks[event])

    @property
    def callback_list(self) -> str:
        """The names of the callbacks, a line each."""
        return "\n".join(type(callback).__name__ for callback in self.callbacks)

    def __getattr__(self, name: str) -> Any:
        """Return what the handler of transformers has: `on_log(args, state, control, logs)`, `model`, `optimizer`."""
        if name in EVENTS:
            return partial(self._call_by_name, name)
        if name in vars(self).get("context", ()):
            return self.context[name]
        raise AttributeError(f"A CallbackHandler has no {name!r}.")

    def _call_by_name(self, event: str, args: Any, state: Any, control: Any, values: Any = None, **kwargs: Any) -> Any:
        about = {} if values is None else {"logs" if event == "on_log" else "metrics": values}
        return self.call(event, args, state, control, **about, **kwargs)

    def call_event(self, event: str, args: Any, state: Any, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Call the callbacks as `call` does, but leave the switches as they are."""
        return self.call(event, args, state, control, _resets=False, **kwargs)

    def call(
        self,
        event: str,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        *,
        _resets: bool = True,
        **kwargs: Any,
    ) -> TrainerControl:
        """Call every callback that overrides the hook, in the order in which they were added; return the control.

        A switch set by one callback stays set when another returns a control of its own.

        Raises:
            Exception: What a callback raised, with a note that names it and the hook.
        """
        if _resets and event in _RESETS:
            vars(control).update(_RESETS[event])
        hooks = self._hooks[event]
        if not hooks:
            return control
        interrupt: BaseException | None = None
        for callback, hook in tuple(hooks):
            try:
                result = hook(args, state, control, **self.context, **kwargs)
                if result is not None and result is not control and hasattr(result, "should_training_stop"):
                    control = _with_switches(result, control)  # ignore any other return value
            except Exception as error:
                what = f"The callback {getattr(callback, 'name', type(callback).__name__)} raised in {event}"
                if isinstance(error, RuncastError) and event not in _WAYS_OUT:
                    raise  # raised on purpose: a wrong setting, or a tracker that failed under strict=True
                if getattr(callback, "reports", False):
                    pass_on(error)
                    self.failures += 1
                    self._disable(callback, event)
                    _log.exception("%s and has been disabled. Training continues without it.", what)
                elif event in _WAYS_OUT:
                    _log.exception("%s. The other callbacks are still called.", what)
                else:
                    getattr(error, "add_note", str)(f"{what} at step {state.global_step}.")  # Python 3.10 has none
                    raise
            except (KeyboardInterrupt, SystemExit) as error:
                if event not in _WAYS_OUT:
                    raise
                interrupt = interrupt or error  # Ctrl-C or an exit: call the others first
        if event == "teardown":
            while self._disabled:
                self._forget(self._disabled.pop())
        if interrupt is not None:
            raise interrupt
        return control

    def states(self) -> dict[str, Any]:
        """Collect the states of the stateful callbacks by class, as transformers does: one, or a list of several."""
        found: dict[str, list[Any]] = {}
        for callback in self.callbacks:
            if callable(getattr(callback, "state", None)):
                found.setdefault(type(callback).__name__, []).append(callback.state())
        return {name: states[0] if len(states) == 1 else states for name, states in found.items()}

    def load_states(self, saved: Mapping[str, Any]) -> None:
        """Restore the stateful callbacks: attributes, and constructor arguments that are attributes.

        What differs from how a callback was made, or belongs to one that is missing, is reported.
        """
        for name, states in saved.items():
            same = [callback for callback in self.callbacks if type(callback).__name__ == name]
            if not same:
                _log.warning("The checkpoint has the state of a %s, which this training does not have.", name)
            for callback, state in zip(same, states if isinstance(states, list) else [states], strict=False):
                for argument, value in state.get("args", {}).items():
                    if (mine := getattr(callback, argument, value)) != value:
                        _log.warning("%s goes on with %s=%r as saved, not %r.", name, argument, value, mine)
                        setattr(callback, argument, value)
                for attribute, value in state.get("attributes", {}).items():
                    setattr(callback, attribute, value)

    def _note_second(self, kind: type, is_second: bool) -> None:
        if is_second:
            _log.warning("There is a %s among the callbacks already:\n%s", kind, self.callback_list)

    def _disable(self, callback: Any, event: str) -> None:
        """Stop calling a callback, except for the events that end a training."""
        kept = _WAYS_OUT[_WAYS_OUT.index(event) + 1 :] if event in _WAYS_OUT else _WAYS_OUT
        self._forget(callback, but=kept)
        self._disabled.append(callback)

    def _forget(self, callback: Any, but: tuple[str, ...] = ()) -> None:
        for event, hooks in self._hooks.items():
            if event not in but:
                hooks[:] = [entry for entry in hooks if entry[0] is not callback]


def _with_switches(control: TrainerControl, earlier: TrainerControl) -> TrainerControl:
    """Carry over the switches of other callbacks to a control that a callback returned."""
    for switch in SWITCHES:
        if getattr(earlier, switch):
            setattr(control, switch, True)
    return control


def _overridden(callback: Any, event: str) -> Callable[..., Any] | None:
    """Return the hook unless it is the empty one of a TrainerCallback, ours or that of transformers."""
    hook = getattr(callback, event, None)
    empty = [vars(base).get(event) for base in type(callback).__mro__ if base.__name__ == "TrainerCallback"]
    return None if hook is None or getattr(hook, "__func__", hook) in empty else hook
