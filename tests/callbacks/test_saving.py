"""When checkpoints are saved, and which are kept."""

import math
import os

import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.core.errors import OptionError
from runcast.core.functions import LambdaCallback
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer


def save(training, folder):
    """Do what the loop does when it is asked to save."""
    if training.control.should_save:
        (folder / f"checkpoint-{training.state.global_step}").mkdir(exist_ok=True)
        training.event("on_save")


def test_the_best_ones_and_the_last_one_are_kept(stage, tmp_path):
    """top_k=2, with links to the best and to the last."""
    training = stage(ModelCheckpointCallback(top_k=2), output_dir=str(tmp_path))
    training.event("on_train_begin")
    for loss in (0.5, 0.3, 0.4, 0.9, 0.2):
        training.evaluate(eval_loss=loss)
        save(training, tmp_path)

    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-5"]
    assert os.readlink(tmp_path / "best") == "checkpoint-5"
    assert os.readlink(tmp_path / "last") == "checkpoint-5"


def test_it_saves_by_steps_epochs_and_minutes(stage, tmp_path, monkeypatch):
    """Each clock of its own."""
    now = [0.0]
    monkeypatch.setattr("runcast.callbacks.saving.time.monotonic", lambda: now[0])
    training = stage(ModelCheckpointCallback(every_steps=4, every_epochs=2, every_minutes=1), output_dir=str(tmp_path))
    training.event("on_train_begin")
    saved = []
    for step in range(1, 7):
        now[0] += 25.0
        training.state.global_step, training.state.epoch = step, step / 2
        training.event("on_step_begin")
        training.event("on_step_end")
        if training.control.should_save:
            saved.append(step)
            save(training, tmp_path)
    training.event("on_epoch_end")

    assert saved == [3, 4]  # 75 s after the start; the fourth step; the clock then starts anew
    training.state.epoch = 2.0
    training.control.should_save = False
    training.event("on_epoch_end")
    assert training.control.should_save


def test_a_save_that_is_still_written_is_not_asked_for_again(stage, tmp_path, monkeypatch):
    """With async_save, `on_save` comes some steps later: the clock starts when the save is requested."""
    now = [0.0]
    monkeypatch.setattr("runcast.callbacks.saving.time.monotonic", lambda: now[0])
    training = stage(ModelCheckpointCallback(every_minutes=1), output_dir=str(tmp_path))
    training.event("on_train_begin")
    requested = []
    for step in range(1, 6):
        now[0] += 25.0
        training.event("on_step_begin")
        training.event("on_step_end")
        if training.control.should_save:
            requested.append(step)

    assert requested == [3]


def test_a_save_that_failed_is_not_among_the_best(stage, tmp_path):
    """A full disk, say: links and ranks are of what is there."""
    training = stage(ModelCheckpointCallback(top_k=1), output_dir=str(tmp_path))
    training.event("on_train_begin")
    training.evaluate(eval_loss=0.1)  # to be saved, but nothing is
    training.control.should_save = False
    training.evaluate(eval_loss=0.05)
    save(training, tmp_path)

    assert os.readlink(tmp_path / "best") == "checkpoint-2"
    assert training.handler.states()["ModelCheckpointCallback"]["attributes"] == {"scores": {"2": 0.05}}


def test_a_checkpoint_of_an_earlier_training_stands_for_none_that_was_not_written(stage, tmp_path):
    """Where a save failed, the folder of that name is another training's: it is not the best, and not deleted."""
    (tmp_path / "checkpoint-1").mkdir()
    training = stage(ModelCheckpointCallback(top_k=1), output_dir=str(tmp_path))
    training.event("on_train_begin")
    training.evaluate(eval_loss=0.1)  # asked for, but not written
    training.control.should_save = False
    for loss in (0.3, 0.2):
        training.evaluate(eval_loss=loss)
        save(training, tmp_path)

    assert os.readlink(tmp_path / "best") == "checkpoint-3"
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]


@pytest.mark.parametrize("greater", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "n/a", torch.tensor(math.nan)])
def test_what_is_not_a_finite_number_takes_no_place_among_the_best(stage, tmp_path, value, greater):
    """It is not saved, and the next number is."""
    training = stage(ModelCheckpointCallback(top_k=2, greater_is_better=greater), output_dir=str(tmp_path))
    training.event("on_train_begin")
    for loss in (value, 0.5, value, 0.4, value):
        training.evaluate(eval_loss=loss)
        save(training, tmp_path)

    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert os.readlink(tmp_path / "best") == ("checkpoint-2" if greater else "checkpoint-4")


def test_a_checkpoint_that_the_arguments_call_best_stays(stage, tmp_path):
    """`load_best_model_at_end` by another metric than top_k's still finds its own."""
    training = stage(ModelCheckpointCallback(top_k=1), output_dir=str(tmp_path))
    training.event("on_train_begin")
    for loss in (0.5, 0.3, 0.2):
        training.evaluate(eval_loss=loss)
        training.state.best_model_checkpoint = str(tmp_path / "checkpoint-1")
        save(training, tmp_path)

    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-3"]


def test_the_ranks_go_on_after_a_resume(stage, tmp_path):
    """What was best before the checkpoint is still known."""
    first = stage(ModelCheckpointCallback(top_k=1), output_dir=str(tmp_path))
    first.event("on_train_begin")
    first.evaluate(eval_loss=0.1)
    states = first.handler.states()
    save(first, tmp_path)
    second = stage(ModelCheckpointCallback(top_k=1), output_dir=str(tmp_path))
    second.handler.load_states(states)
    second.state.global_step = 1
    second.event("on_train_begin")
    second.evaluate(eval_loss=0.2)

    assert not second.control.should_save
    assert os.readlink(tmp_path / "best") == "checkpoint-1"


def test_half_an_epoch_is_none(stage, tmp_path):
    """A training that stops within an epoch ends no epoch to save at."""
    training = stage(ModelCheckpointCallback(every_epochs=2), output_dir=str(tmp_path))
    training.state.epoch = 2.4
    training.event("on_epoch_end")

    assert not training.control.should_save


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt()])
def test_a_training_that_raises_leaves_a_checkpoint(tmp_path, error):
    """With on_exception, of the last whole step; the exception goes on."""
    data = [(torch.zeros(1), torch.zeros(1))] * 8
    args = TrainingArguments(
        output_dir=str(tmp_path),
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        per_device_train_batch_size=2,
        max_steps=9,
    )

    def fail(args, state, control, **kwargs):
        if state.global_step == 2:
            raise error

    callbacks = [
        ModelCheckpointCallback(on_exception=True),
        LambdaCallback(on_step_begin=fail),
        ProgressCallback(Console(quiet=True)),
    ]
    trainer = Trainer(
        nn.Linear(1, 1), args, train_dataset=data, compute_loss=nn.functional.mse_loss, callbacks=callbacks
    )

    with pytest.raises(type(error)):
        trainer.train()

    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    assert os.readlink(tmp_path / "last") == "checkpoint-2"


@pytest.mark.parametrize("name", ["every_steps", "every_epochs", "every_minutes", "top_k"])
def test_an_impossible_number_is_refused(name):
    """All of them count from 1."""
    with pytest.raises(OptionError, match=f"{name}=0 must be positive"):
        ModelCheckpointCallback(**{name: 0})
