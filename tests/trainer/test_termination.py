"""SIGTERM, whenever it comes: one more step at most, one save, exit code 143; the rest is for the resumed training."""

import os
import signal

import pytest

from runcast.core.events import TrainerCallback
from runcast.trainer.termination import EXIT_CODE

EVENTS = ("on_step_begin", "on_step_end", "on_log", "on_evaluate_begin", "on_prediction_step", "on_evaluate", "on_save")


class Kill(TrainerCallback):
    """Sends SIGTERM at one event of a step, and notes what happens."""

    def __init__(self, event, step, when="always"):
        self.seen, self.event, self.step, self.when, self.sent = [], event, step, when, False
        for name in (*EVENTS, "on_train_end", "on_epoch_end", "on_exception", "teardown", "on_epoch_begin"):
            setattr(self, name, self.listener(name))

    def listener(self, name):
        def listen(args, state, control, **kwargs):
            self.seen.append((name, state.global_step))
            if name == self.event and state.global_step >= self.step and not self.sent:
                self.sent = True
                self.seen.append("SIGTERM")
                os.kill(os.getpid(), signal.SIGTERM)

        return listen

    @property
    def after(self):
        """List what happened after the signal."""
        return self.seen[self.seen.index("SIGTERM") + 1 :]


def train(make, folder, callback, resume=None, **settings):
    """Train with a checkpoint and an evaluation every three steps of twelve, four of them an epoch."""
    settings = {
        "output_dir": str(folder),
        "max_steps": 12,
        "train_dataset": make.Digits(32),
        "eval_dataset": make.Digits(40),
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "logging_steps": 3,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "steps",
        "save_steps": 3,
        "enable_jit_checkpoint": True,
        "load_best_model_at_end": True,
    } | settings
    trainer = make(callbacks=[callback], **settings)
    if resume is not None:
        trainer.train(resume_from_checkpoint=resume)
        return trainer
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        trainer.train()
    assert left.value.code == EXIT_CODE == 143
    assert signal.getsignal(signal.SIGTERM) == before
    return trainer


@pytest.mark.parametrize(
    ("event", "stops_at"),
    [
        ("on_step_begin", 4),  # the step under way is completed
        ("on_step_end", 3),
        ("on_log", 3),
        ("on_evaluate_begin", 3),
        ("on_prediction_step", 3),
        ("on_evaluate", 3),
        ("on_save", 3),
        ("on_epoch_end", 4),
        ("on_epoch_begin", 5),
    ],
)
def test_it_stops_within_a_step_and_saves_once(make, tmp_path, event, stops_at):
    """No evaluation is completed or begun, nothing is loaded, the training does not end as one that is complete."""
    callback = Kill(event, 3)
    trainer = train(make, tmp_path, callback)

    names = [name for name, _ in callback.after]
    assert trainer.state.global_step == stops_at
    assert names.count("on_step_end") <= 1
    assert names.count("on_prediction_step") == 0
    assert names.count("on_save") == (0 if event == "on_save" else 1)
    assert "on_train_end" not in names
    assert names[-2:] == ["on_exception", "teardown"]
    assert (tmp_path / f"checkpoint-{stops_at}").is_dir()


@pytest.mark.parametrize("event", ["on_step_begin", "on_prediction_step", "on_save", "on_epoch_end"])
def test_the_resumed_training_ends_as_one_that_was_left_alone(make, tmp_path, event):
    """The very same weights, though an evaluation was cut short."""
    settings = {"load_best_model_at_end": False}
    whole = train(make, tmp_path / "whole", Kill("never", 0), resume="last", **settings)

    train(make, tmp_path, Kill(event, 3), **settings)
    resumed = train(make, tmp_path, Kill("never", 0), resume=True, **settings)

    assert resumed.state.global_step == 12
    assert make.same_weights(whole.model, resumed.model)


def test_an_evaluation_at_the_end_of_an_epoch_is_cut_short(make, tmp_path):
    """The checkpoint continues with the next epoch."""
    callback = Kill("on_prediction_step", 4)
    trainer = train(make, tmp_path, callback, eval_strategy="epoch", save_strategy="epoch", eval_steps=None)

    assert [name for name, _ in callback.after] == ["on_save", "on_exception", "teardown"]
    assert trainer.state.global_step == 4
    assert train(make, tmp_path, Kill("never", 0), resume=True).state.global_step == 12


def test_a_prediction_inside_of_a_callback_is_cut_short(make, tmp_path):
    """Where a callback predicts, evaluates or samples."""
    callback = Kill("on_prediction_step", 2)
    trainer = make(
        output_dir=str(tmp_path),
        max_steps=4,
        callbacks=[callback],
        enable_jit_checkpoint=True,
        save_strategy="steps",
        save_steps=100,
    )
    trainer.add_callback("on_step_end", lambda *_, **__: trainer.predict(make.Digits(40)))

    with pytest.raises(SystemExit) as left:
        trainer.train()

    assert left.value.code == 143
    assert [name for name, _ in callback.after] == ["on_save", "on_exception", "teardown"]
    assert (tmp_path / "checkpoint-2").is_dir()


def test_before_the_first_step_there_is_nothing_to_save(make, tmp_path):
    """In an evaluation at the start."""
    callback = Kill("on_prediction_step", 0)
    trainer = train(make, tmp_path, callback, eval_on_start=True)

    assert [name for name, _ in callback.after] == ["on_exception", "teardown"]
    assert trainer.state.global_step == 0
    assert list(tmp_path.glob("checkpoint-*")) == []


def test_at_the_end_of_a_training_it_ends_the_process_too(make, tmp_path):
    """What is complete stays so."""
    callback = Kill("on_train_end", 12)
    trainer = train(make, tmp_path, callback)

    assert trainer.state.global_step == 12
    assert [name for name, _ in callback.after] == ["on_exception", "teardown"]


def test_a_save_that_fails_is_said(make, tmp_path, capsys, monkeypatch):
    """The line does not promise what is not there."""
    callback = Kill("on_step_end", 2)
    monkeypatch.setattr(
        "runcast.trainer.checkpoints.saving.save_training", lambda *_: (_ for _ in ()).throw(OSError("full"))
    )

    train(make, tmp_path, callback)

    assert "SIGTERM: the training stopped at step 2. It could not be saved." in capsys.readouterr().err
