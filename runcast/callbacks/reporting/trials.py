"""The trials of a hyper-parameter search: each is a run of its own, and all of them are one group."""

from typing import Any

from runcast.core.events import TrainerState
from runcast.journal.random_name import random_name


class Trials:
    """The trial that a training is, among those before it; outside a search there is none."""

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._name: str | None = None
        self._group: str | None = None
        self._count = 0

    def begin(self, state: TrainerState, *, is_underway: bool) -> bool:
        """Note which trial a training is; return whether it is another one than the last, or none after one.

        A training that begins again without having ended has got another batch size, and is the same trial.
        """
        params = dict(state.trial_params or {}) if state.is_hyper_param_search else None
        if params == self.params and (params is None or is_underway):
            return False
        self.params, self._name = params, state.trial_name
        self._count += params is not None
        return True

    def options(self, id: str | None, name: str | None, group: str | None) -> dict[str, Any]:
        """Return the arguments of `init` that the trial has, where the search has these; the id and the name count."""
        if self.params is None:
            return {"id": id}
        self._group = group or self._group or name or random_name()
        numbered = {key: value and f"{value}-{self._count}" for key, value in {"id": id, "name": name}.items()}
        return {"id": numbered["id"], "name": self._name or numbered["name"], "group": self._group}
