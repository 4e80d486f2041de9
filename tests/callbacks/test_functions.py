"""Functions as callbacks."""

import re

import pytest

from runcast.core.errors import OptionError
from runcast.core.functions import LambdaCallback


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

    def divide(*_, **__):
        return 1 / 0

    training = stage(LambdaCallback(on_step_end=divide))

    with pytest.raises(ZeroDivisionError) as caught:
        training.event("on_step_end")

    assert re.search("callback .*divide raised in on_step_end at step 0", caught.value.__notes__[0])


def test_an_event_that_does_not_exist_is_refused():
    """The message lists those that do."""
    with pytest.raises(OptionError, match=r"'on_epoch' is not an event\. The events are: on_init_end, on_train_begin"):
        LambdaCallback(on_epoch=print)


def test_filters_hold_for_each_event_by_itself(stage):
    """Every second step and every second log; the counts are in the checkpoint."""
    seen = []
    callback = LambdaCallback(
        every=2, on_step_end=lambda *_, **__: seen.append("step"), on_log=lambda *_, **__: seen.append("log")
    )
    training = stage(callback)

    for event in ("on_step_end", "on_step_end", "on_step_end", "on_log"):
        training.event(event, logs={})

    assert seen == ["step"]
    assert callback.state()["attributes"] == {"calls": {"on_step_end": 3, "on_log": 1}}
