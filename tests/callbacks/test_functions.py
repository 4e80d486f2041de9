"""Functions as callbacks."""

import pytest

from runcast.callbacks.functions import LambdaCallback
from runcast.core.errors import CallbackError, OptionError


def test_a_function_is_called_on_its_event_alone(stage):
    """With what any callback is told."""
    seen = []
    training = stage(
        LambdaCallback(on_log=lambda args, state, control, logs, **_: seen.append((state.global_step, logs)))
    )

    training.event("on_step_end")
    training.log(loss=1.0)

    assert seen == [(1, {"loss": 1.0})]
    assert [event for event in ("on_log", "on_step_end") if training.handler.has(event)] == ["on_log"]


def test_a_function_may_steer_the_training(stage):
    """By changing the control."""

    def stop(args, state, control, **kwargs):
        control.should_training_stop = True

    training = stage(LambdaCallback(on_step_end=stop))
    training.event("on_step_end")

    assert training.control.should_training_stop


def test_a_function_that_raises_is_an_error_with_its_event(stage):
    """The callback and the hook are named."""
    training = stage(LambdaCallback(on_step_end=lambda *_, **__: 1 / 0))

    with pytest.raises(
        CallbackError, match="The callback LambdaCallback raised in on_step_end at step 0: ZeroDivisionError"
    ):
        training.event("on_step_end")


def test_an_event_that_does_not_exist_is_refused():
    """The message lists those that do."""
    with pytest.raises(OptionError, match=r"'on_epoch' is no event\. The events are: on_init_end, on_train_begin"):
        LambdaCallback(on_epoch=print)
