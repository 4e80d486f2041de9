"""The learning rate: lowered on a plateau, logged for each group."""

import pytest
import torch
from torch import nn

from runcast.callbacks.rates import LearningRateCallback, ReduceLROnPlateauCallback


def optimizer_of(*rates, **settings):
    """Make an optimizer with a group for each rate."""
    return torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates], **settings)


@pytest.mark.parametrize(
    ("settings", "losses", "rate"),
    [
        ({"patience": 2, "factor": 0.1}, [1.0, 1.0, 1.0], 0.1),
        ({"patience": 2, "factor": 0.1}, [1.0, 0.9, 0.8], 1.0),
        ({"patience": 1, "factor": 0.5}, [1.0, 1.0, 1.0], 0.25),
        ({"patience": 1, "factor": 0.5, "cooldown": 2}, [1.0, 1.0, 1.0, 1.0], 0.5),
        ({"patience": 1, "factor": 0.1, "min_lr": 0.3}, [1.0, 1.0, 1.0], 0.3),
    ],
)
def test_the_rate_falls_when_the_metric_stalls(stage, settings, losses, rate):
    """Factor, patience, cooldown and minimum."""
    optimizer = optimizer_of(1.0)
    training = stage(ReduceLROnPlateauCallback(**settings), context={"optimizer": optimizer})

    for loss in losses:
        training.evaluate(eval_loss=loss)

    assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_the_rate_stays_low_under_a_schedule(stage):
    """A schedule that computes each rate anew starts from the lower base."""
    optimizer = optimizer_of(1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    training = stage(
        ReduceLROnPlateauCallback(patience=1, factor=0.1), context={"optimizer": optimizer, "lr_scheduler": schedule}
    )
    training.evaluate(eval_loss=1.0)
    training.evaluate(eval_loss=1.0)

    optimizer.step()
    schedule.step()

    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_the_rate_of_each_group_is_logged_with_the_loss(stage):
    """By the group's name or number; not with an evaluation."""
    optimizer = optimizer_of(0.1, 0.2, momentum=0.9)
    optimizer.param_groups[1]["name"] = "head"
    training = stage(LearningRateCallback(momentum=True), context={"optimizer": optimizer})

    assert training.log(eval_loss=1.0) == {"eval_loss": 1.0}
    assert training.log(loss=1.0) == {
        "loss": 1.0,
        "learning_rate/0": 0.1,
        "momentum/0": 0.9,
        "learning_rate/head": 0.2,
        "momentum/head": 0.9,
    }
