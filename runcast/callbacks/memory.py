"""How a callback's state gets into a checkpoint of transformers, which knows only the callbacks of its own kind."""

from typing import Any

from runcast.core.events import TrainerState


def remember(callback: Any, state: TrainerState, name: str = "") -> None:
    """Put a callback's state where the next checkpoint of transformers takes it along.

    Our Trainer asks the callbacks themselves when it saves. `name` tells two callbacks of a class apart.
    """
    if type(state) is not TrainerState:
        state.stateful_callbacks[_key(callback, name)] = callback.state()


def recall(callback: Any, state: TrainerState, name: str = "") -> None:
    """Give a callback its attributes back from the state that a resumed training of transformers begins with."""
    if type(state) is not TrainerState:
        for attribute, value in state.stateful_callbacks.get(_key(callback, name), {}).get("attributes", {}).items():
            setattr(callback, attribute, value)


def _key(callback: Any, name: str) -> str:
    return "/".join(part for part in ("runcast", type(callback).__name__, name) if part)
