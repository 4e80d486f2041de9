"""When to log, evaluate, save and stop: exactly as in transformers."""

from itertools import product
from types import SimpleNamespace

import pytest

from runcast.callbacks.flow import DefaultFlowCallback
from runcast.core.events import TrainerControl, TrainerState

STRATEGIES = ("no", "steps", "epoch")


def switches(flow, args, control, at):
    """Set the switches of each step, and of the epoch that ends with it; return them."""
    seen = []
    for step in range(1, 8):
        state = TrainerState(global_step=step, max_steps=7, epoch=step / 3.5, **at)
        for hook in (flow.on_step_end, flow.on_epoch_end):
            fresh = control()
            hook(args, state, fresh)
            seen.append((fresh.should_log, fresh.should_evaluate, fresh.should_save, fresh.should_training_stop))
    return seen


def test_the_switches_are_those_of_transformers():
    """For every combination of strategies and intervals, at every step and epoch."""
    transformers = pytest.importorskip("transformers")
    intervals = [
        {"logging_steps": 2, "eval_steps": 3, "save_steps": 4},
        {"logging_steps": 7, "eval_steps": 7, "save_steps": 0},
    ]
    for logging, evaluation, saving, first, delay, at in product(
        STRATEGIES, STRATEGIES, (*STRATEGIES, "best"), (False, True), (0, 1.5, 5), intervals
    ):
        args = SimpleNamespace(
            logging_strategy=logging,
            eval_strategy=evaluation,
            save_strategy=saving,
            logging_first_step=first,
            eval_delay=delay,
        )

        mine = switches(DefaultFlowCallback(), args, TrainerControl, at)

        assert mine == switches(transformers.DefaultFlowCallback(), args, transformers.TrainerControl, at), args


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"logging_strategy": "steps"}, [2, 4, 6]),
        ({"logging_strategy": "steps", "logging_first_step": True}, [1, 2, 4, 6]),
        ({"logging_strategy": "no"}, []),
    ],
)
def test_logs_come_at_their_steps(settings, expected):
    """Each so many, and the first one if asked."""
    args = SimpleNamespace(
        **{"eval_strategy": "no", "save_strategy": "no", "logging_first_step": False, "eval_delay": 0, **settings}
    )

    seen = switches(DefaultFlowCallback(), args, TrainerControl, {"logging_steps": 2, "eval_steps": 9, "save_steps": 9})

    assert [step for step in range(1, 8) if seen[2 * (step - 1)][0]] == expected
