"""Which model is the best: by value, by name, and by whether it was saved at all."""

import logging
import math

import numpy as np
import pytest
import torch

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments


@pytest.fixture
def scored(make, tmp_path):
    """Return a function that makes a Trainer whose evaluations give these scores, one after the other."""

    def scored(scores, **settings):
        scores = iter(scores)
        settings = {
            "output_dir": str(tmp_path / "out"),
            "eval_strategy": "steps",
            "eval_steps": 1,
            "save_strategy": "steps",
            "save_steps": 1,
            "load_best_model_at_end": True,
            "metric_for_best_model": "score",
            "compute_metrics": lambda p: {"score": next(scores)},
        } | settings
        return make(**settings)

    return scored


def best(trainer):
    """Return the step of the best checkpoint, and check that its weights are the model's."""
    from pathlib import Path

    from safetensors.torch import load_file

    folder = Path(trainer.state.best_model_checkpoint)
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in trainer.model.state_dict().items())
    return int(folder.name.removeprefix("checkpoint-"))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.5, 0.9, 0.7, 0.8, 0.2], 4),  # 0.9 at step 3 is not saved; of 2, 4, 6 the fourth is best
        ([0.1, 0.5, 0.9, 0.3, 0.8, 0.2], 2),
        ([0.9, 0.1, 0.8, 0.2, 0.7, 0.3], 6),
        ([0.1, math.nan, 0.2, math.nan, 0.3, 0.05], 6),
        ([0.1, math.inf, 0.2, 0.3, 0.3, 0.05], 4),
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 2),  # of equal ones the first
    ],
)
def test_the_best_one_is_the_best_of_those_that_were_saved(scored, scores, expected):
    """Where saves are rarer than evaluations, the best evaluation may have none."""
    trainer = scored(scores, max_steps=6, save_steps=2)

    trainer.train()

    assert best(trainer) == expected


def test_a_best_evaluation_without_a_checkpoint_is_named(scored, caplog):
    """The user learns what was loaded in its place."""
    trainer = scored([0.1, 0.5, 0.9, 0.7], max_steps=4, save_steps=2)

    with caplog.at_level(logging.WARNING, logger="runcast.trainer"):
        trainer.train()

    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.9, 3)
    assert "The best evaluation was at step 3 (0.9), where no checkpoint was saved. The best saved one" in caplog.text


def test_the_best_one_is_still_known_after_a_resume(scored):
    """Its value is compared with those that come, not that of the best evaluation."""
    scored([0.1, 0.5, 0.9, 0.3], max_steps=4, save_steps=2).train()
    trainer = scored([0.4, 0.6, 0.7, 0.2], max_steps=8, save_steps=2)

    trainer.train(resume_from_checkpoint="last")

    assert best(trainer) == 6


def test_an_epoch_that_is_saved_at_its_last_step_is_evaluated_after_that(scored):
    """12 steps an epoch: the checkpoint of step 12 is the one that the evaluation at the end of the epoch is of."""
    from runcast.callbacks.saving import ModelCheckpointCallback

    trainer = scored(
        [0.9, 0.5],
        eval_strategy="epoch",
        save_strategy="epoch",
        num_train_epochs=2,
        callbacks=[ModelCheckpointCallback(every_steps=12)],
    )

    trainer.train()

    assert best(trainer) == 12


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({"eval_steps": 0.4, "save_steps": 0.5}, ["save_steps=0.5", "eval_steps=0.4"]),
        ({"eval_steps": 0.5, "save_steps": 0.4}, ["save_steps=0.4", "eval_steps=0.5"]),
        ({"eval_steps": 0.5, "save_steps": 0.25}, ["save_steps=0.25", "eval_steps=0.5"]),
        ({"eval_steps": 20, "save_steps": 50}, ["save_steps=50", "eval_steps=20"]),
    ],
)
def test_strategies_that_never_meet_are_refused_with_both_numbers(settings, numbers):
    """When they are made."""
    with pytest.raises(OptionError, match="the strategies never meet") as caught:
        TrainingArguments(eval_strategy="steps", save_strategy="steps", load_best_model_at_end=True, **settings)

    assert all(number in str(caught.value) for number in numbers)


@pytest.mark.parametrize(("evaluations", "saves"), [(0.1, 0.3), (0.2, 0.4), (0.05, 0.15), (0.1, 0.1), (10, 30)])
def test_strategies_that_meet_are_accepted(evaluations, saves):
    """Although 0.3 / 0.1 is not 3 in binary."""
    args = TrainingArguments(
        eval_strategy="steps",
        save_strategy="steps",
        load_best_model_at_end=True,
        eval_steps=evaluations,
        save_steps=saves,
    )

    assert args.save_steps == saves


def test_shares_still_meet_when_they_are_rounded(scored):
    """Of 11 steps 0.2 is every third one and 0.4 would be every fifth: it is every sixth."""
    trainer = scored([0.1, 0.9, 0.2, 0.1], max_steps=11, eval_steps=0.2, save_steps=0.4)

    trainer.train()

    assert (trainer.state.eval_steps, trainer.state.save_steps) == (3, 6)
    assert best(trainer) == 6


def test_a_share_that_does_not_meet_a_number_of_steps_is_refused_before_the_first_step(scored):
    """It is known when the number of steps is."""
    seen = []
    trainer = scored([0.1], max_steps=10, eval_steps=3, save_steps=0.5)
    trainer.add_callback("on_step_begin", lambda *_, **__: seen.append(1))

    with pytest.raises(OptionError, match=r"of 10 steps save_steps=0.5 means every 5 and eval_steps=3 every 3"):
        trainer.train()
    assert seen == []

    scored([0.1, 0.2], max_steps=10, eval_steps=5, save_steps=0.5).train()


NOT_NUMBERS = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "None": None,
    "text": "n/a",
    "tensor": torch.tensor(math.nan),
    "array": np.array([math.nan]),
    "two": np.array([0.5, 0.6]),
}


@pytest.mark.parametrize("greater", [True, False])
@pytest.mark.parametrize("strategy", ["steps", "best"])
@pytest.mark.parametrize("value", NOT_NUMBERS.values(), ids=NOT_NUMBERS)
def test_what_is_not_a_finite_number_is_never_best(scored, value, greater, strategy):
    """As the first value or a later one, whatever the direction."""
    trainer = scored(
        [value, 0.5, value, 0.6 if greater else 0.4, value],
        max_steps=5,
        greater_is_better=greater,
        save_strategy=strategy,
    )

    trainer.train()

    assert best(trainer) == 4
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.6 if greater else 0.4, 4)


@pytest.mark.parametrize("name", ["val_ood_loss", "eval_val_ood_loss"])
@pytest.mark.parametrize("order", [("val", "val_ood"), ("val_ood", "val")])
def test_datasets_whose_names_begin_alike_are_told_apart(make, tmp_path, name, order):
    """`val_ood_loss` is that of val_ood, for every callback that watches it, although it begins like one of val."""
    from runcast.callbacks.rates import ReduceLROnPlateauCallback
    from runcast.callbacks.saving import ModelCheckpointCallback
    from runcast.callbacks.stopping import EarlyStoppingCallback

    stopping, saving, rates = (
        EarlyStoppingCallback(9, metric=name),
        ModelCheckpointCallback(top_k=1, metric=name),
        ReduceLROnPlateauCallback(metric=name),
    )
    trainer = make(
        output_dir=str(tmp_path / "out"),
        eval_dataset={part: make.Digits(8 if part == "val" else 16) for part in order},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model=name,
        max_steps=2,
        callbacks=[stopping, saving, rates],
    )

    trainer.train()

    losses = [entry["eval_val_ood_loss"] for entry in trainer.state.log_history if "eval_val_ood_loss" in entry]
    assert len(losses) == 2
    assert stopping.best == rates.best == min(losses) == trainer.state.best_metric
    assert list(saving.scores.values()) == [min(losses)]


@pytest.mark.parametrize(
    "name", ["test_loss", "eval_test_loss", "eval_loss_loss", "per_class/cat", "eval_per_class/cat"]
)
def test_a_metric_is_found_whatever_its_name_begins_with(make, tmp_path, name):
    """A dataset may be called test or eval_loss, and a metric may lie in a dict."""
    from runcast.callbacks.stopping import EarlyStoppingCallback

    part = "test" if "test" in name else "loss"
    stopping = EarlyStoppingCallback(9, metric=name)
    trainer = make(
        output_dir=str(tmp_path / "out"),
        eval_dataset=make.Digits(8) if "class" in name else {part: make.Digits(8)},
        compute_metrics=lambda p: {"per_class": {"cat": np.float32(0.5)}},
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model=name,
        max_steps=2,
        callbacks=[stopping],
    )

    trainer.train()

    assert stopping.best == trainer.state.best_metric is not None
