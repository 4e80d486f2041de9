"""When checkpoints are saved, and which are kept."""

import os

import pytest

from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.core.errors import OptionError


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


def test_an_impossible_number_is_refused():
    """top_k counts from 1."""
    with pytest.raises(OptionError, match="top_k=0 must be positive"):
        ModelCheckpointCallback(top_k=0)
