"""The learning rate: lowered on a plateau, logged for each group."""

from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.rates import LearningRateCallback, ReduceLROnPlateauCallback
from runcast.core.errors import OptionError
from runcast.core.functions import LambdaCallback
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer


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


def test_it_lowers_every_part_of_a_schedule(stage):
    """Warm-up, then decay: both start from the lower base; so does a schedule inside another object."""
    schedulers = torch.optim.lr_scheduler
    optimizer = optimizer_of(1.0, 0.5)
    parts = [schedulers.ConstantLR(optimizer, 1.0), schedulers.LambdaLR(optimizer, lambda step: 1.0)]
    wrapped = SimpleNamespace(scheduler=schedulers.SequentialLR(optimizer, parts, [1]))
    training = stage(
        ReduceLROnPlateauCallback(patience=1, factor=0.1), context={"optimizer": optimizer, "lr_scheduler": wrapped}
    )
    training.evaluate(eval_loss=1.0)
    training.evaluate(eval_loss=1.0)

    optimizer.step()
    wrapped.scheduler.step()

    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.05])


def test_a_resumed_training_goes_on_waiting_with_the_lower_rate(tmp_path):
    """Interrupted behind a reduction: the same rates as without the interruption, step by step."""

    def train(folder, steps, resume=False):
        rates = []
        args = TrainingArguments(
            output_dir=str(folder),
            report_to="none",
            use_cpu=True,
            max_steps=steps,
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=4,
            learning_rate=1.0,
            lr_scheduler_type="constant",
            logging_steps=1,
        )
        data = [(torch.zeros(1), torch.zeros(1))] * 8
        callbacks = [
            ReduceLROnPlateauCallback(factor=0.5, patience=2),
            LambdaCallback(on_log=lambda *_, logs, **__: rates.append(logs.get("learning_rate"))),
            ProgressCallback(Console(quiet=True)),
        ]
        trainer = Trainer(
            nn.Linear(1, 1),
            args,
            train_dataset=data,
            eval_dataset=data,
            compute_loss=lambda out, _: out.sum() * 0 + 1.0,
            callbacks=callbacks,
        )
        trainer.train(resume_from_checkpoint=resume)
        return [rate for rate in rates if rate is not None]

    whole = train(tmp_path / "whole", 8)
    first, second = train(tmp_path / "parts", 4), train(tmp_path / "parts", 8, resume=True)

    assert whole == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert first + second == whole


def test_a_second_training_begins_anew(stage):
    """The callback of one training may serve the next."""
    callback = ReduceLROnPlateauCallback(patience=1)
    for _ in range(2):
        training = stage(callback, context={"optimizer": optimizer_of(1.0)})
        training.event("on_train_begin")
        training.evaluate(eval_loss=1.0)
        training.evaluate(eval_loss=1.0)

    assert callback.reductions == 1


def test_a_factor_that_lowers_nothing_is_refused():
    """It must be between 0 and 1."""
    with pytest.raises(OptionError, match=r"factor=2\.0 does not lower a learning rate"):
        ReduceLROnPlateauCallback(factor=2.0)


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
