"""The trainer of a callback: ours, or that of transformers, which has fewer events."""

from collections.abc import Mapping
from typing import Any

from runcast.core.events import TrainerState
from runcast.run.run import Run

RUN = "runcast"  # in the state file of transformers, where a name of a class would make it construct a new callback


def is_transformers(state: TrainerState) -> bool:
    """Return whether the trainer is that of transformers, which has no event for exceptions or after the end."""
    return type(state) is not TrainerState


def run_id_in(state: TrainerState) -> str | None:
    """Return the id of the run of the training that wrote a state, in either trainer."""
    for saved in state.stateful_callbacks.values():
        if isinstance(saved, Mapping) and isinstance(found := saved.get("attributes", {}).get("run_id"), str):
            return found
    return None


def open_runs(report: Any, callback_handler: Any) -> list[Run]:
    """List the runs that are open: that of `report` (a Run or a callback with one), else those of all callbacks.

    Other callbacks are known in our Trainer, which gives every hook its `callback_handler`.
    """
    reporters = [report] if report is not None else getattr(callback_handler, "callbacks", ())
    runs = {}
    for reporter in reporters:
        run = reporter if isinstance(reporter, Run) else getattr(reporter, "run", None)
        if isinstance(run, Run) and run.status is None:
            runs[run.id] = run
    return list(runs.values())


def remember(callback: Any, state: TrainerState, name: str = "") -> None:
    """Put a callback's state where the next checkpoint of transformers takes it along.

    Our Trainer asks the callbacks themselves when it saves. `name` distinguishes two callbacks of a class.
    """
    if is_transformers(state):
        state.stateful_callbacks[_key(callback, name)] = callback.state()


def recall(callback: Any, state: TrainerState, name: str = "") -> None:
    """Give a callback its attributes back from the state that a resumed training of transformers begins with."""
    if is_transformers(state):
        for attribute, value in state.stateful_callbacks.get(_key(callback, name), {}).get("attributes", {}).items():
            setattr(callback, attribute, value)


def _key(callback: Any, name: str) -> str:
    return "/".join(part for part in (RUN, type(callback).__name__, name) if part)
