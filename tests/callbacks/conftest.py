"""A training without torch, for callbacks that need none: events with values of one's own."""

from types import SimpleNamespace

import pytest

from runcast.core.dispatcher import CallbackHandler
from runcast.core.events import TrainerControl, TrainerState


class Stage:
    """Calls the events of a training on some callbacks, with metrics of one's own."""

    def __init__(self, *callbacks, context=None, **settings):
        self.args = SimpleNamespace(
            **{
                "eval_strategy": "epoch",
                "output_dir": "out",
                "metric_for_best_model": None,
                "greater_is_better": None,
                "run_name": None,
                **settings,
            }
        )
        self.state = TrainerState(max_steps=100)
        self.control = TrainerControl()
        self.handler = CallbackHandler(callbacks, **context or {})

    def event(self, name, **about):
        """Call an event."""
        self.control = self.handler.call(name, self.args, self.state, self.control, **about)

    def evaluate(self, **metrics):
        """Make a step, and evaluate."""
        self.state.global_step += 1
        self.event("on_evaluate", metrics=metrics)

    def log(self, **logs):
        """Make a step, and log."""
        self.state.global_step += 1
        self.event("on_log", logs=logs)
        return logs


@pytest.fixture
def stage():
    """Return the class."""
    return Stage
