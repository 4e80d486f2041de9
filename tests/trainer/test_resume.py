"""A training that was interrupted and resumed ends with the very same weights as one that was not."""

import pytest
import torch

from runcast.callbacks.flow import DefaultFlowCallback
from runcast.core.errors import CheckpointError
from runcast.core.events import TrainerCallback
from runcast.trainer.checkpoints import files as checkpoint


class SaveAndStop(TrainerCallback):
    """Saves at a step, and is interrupted then."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step == self.step

    def on_save(self, args, state, control, **kwargs):
        raise KeyboardInterrupt


SETTINGS = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 8,
    "logging_steps": 2,
    "eval_strategy": "epoch",
    "weight_decay": 0.01,
}


def train(make, tmp_path, *, stop=None, ready=False, resume=None, **settings):
    """Train on noisy digits, to the end or until interrupted; return the trainer."""
    data = make.Digits(44, noise=0.1)
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True) if ready else data
    callbacks = [] if stop is None else [SaveAndStop(stop)]
    trainer = make(output_dir=str(tmp_path), train_dataset=loader, callbacks=callbacks, **SETTINGS | settings)
    trainer.data = data
    if stop is None:
        trainer.train(resume_from_checkpoint=resume)
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    return trainer


def losses(trainer):
    """List what was logged of the training, without times."""
    return [
        (entry["step"], entry["loss"], entry["grad_norm"], entry["learning_rate"])
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


@pytest.mark.parametrize("ready", [False, True], ids=["dataset", "ready DataLoader"])
@pytest.mark.parametrize(
    ("accumulation", "stop"),
    [(1, 1), (1, 5), (1, 6), (1, 7), (2, 2), (2, 3), (2, 4), (4, 1), (4, 2)],
)
def test_a_resumed_training_is_the_uninterrupted_one(make, tmp_path, accumulation, stop, ready):
    """Weights, losses and learning rates are bit-identical.

    In mid-epoch, at its end, with accumulation, noise in the data and dropout.
    """
    settings = {"ready": ready, "gradient_accumulation_steps": accumulation}
    whole = train(make, tmp_path / "whole", **settings)

    train(make, tmp_path / "parts", stop=stop, **settings)
    resumed = train(make, tmp_path / "parts", resume=True, **settings)

    assert make.same_weights(whole.model, resumed.model)
    assert losses(whole) == losses(resumed)
    assert resumed.state.global_step == whole.state.global_step


def test_skipped_data_is_not_read_again(make, tmp_path):
    """Resuming after 5 of 6 batches of the second epoch reads what is left: 4 examples, and the third epoch."""
    train(make, tmp_path, stop=11)

    resumed = train(make, tmp_path, resume=True)

    assert len(resumed.data.read) == 4 + 44


def test_a_stream_is_continued_behind_what_was_used(make, tmp_path):
    """An iterable dataset is read up to the position."""
    stream = [example for _ in range(2) for example in make.Digits(44)]
    settings = {"max_steps": 9, "num_train_epochs": 1}

    def run(folder, **how):
        trainer = make(
            output_dir=str(folder),
            train_dataset=iter_of(stream),
            callbacks=[SaveAndStop(4)] if not how else [],
            **SETTINGS | settings,
        )
        if how:
            trainer.train(**how)
            return trainer
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        return trainer

    whole = run(tmp_path / "whole", resume_from_checkpoint="last")
    run(tmp_path / "parts")
    resumed = run(tmp_path / "parts", resume_from_checkpoint=True)

    assert make.same_weights(whole.model, resumed.model)


def iter_of(examples):
    """Make an iterable dataset of a list."""

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(examples)

    return Stream()


def test_a_training_that_is_over_trains_no_further(make, tmp_path):
    """Resuming from the last checkpoint changes nothing."""
    whole = make(output_dir=str(tmp_path), save_strategy="steps", max_steps=3)
    whole.train()

    resumed = make(output_dir=str(tmp_path), max_steps=3)
    resumed.train(resume_from_checkpoint=True)

    assert resumed.state.global_step == 3
    assert make.same_weights(whole.model, resumed.model)


def test_with_more_steps_it_goes_on(make, tmp_path):
    """One may resume in order to train longer."""
    make(output_dir=str(tmp_path), save_strategy="steps", max_steps=3).train()

    resumed = make(output_dir=str(tmp_path), max_steps=5)

    assert resumed.train(resume_from_checkpoint=True).global_step == 5


def test_the_loaded_checkpoint_is_announced_before_the_training_begins(make, tmp_path):
    """on_checkpoint_load comes first, with the folder and the step."""
    make(output_dir=str(tmp_path), save_strategy="steps", max_steps=3).train()
    seen = []
    trainer = make(output_dir=str(tmp_path), max_steps=3)
    trainer.add_callback(
        "on_checkpoint_load",
        lambda args, state, control, checkpoint, **kw: seen.append((checkpoint.name, state.global_step)),
    )
    trainer.add_callback("on_train_begin", lambda *a, **k: seen.append("begin"))

    trainer.train(resume_from_checkpoint=True)

    assert seen == [("checkpoint-3", 3), "begin"]


def test_stateful_callbacks_are_restored(make, tmp_path):
    """A counter goes on where it was."""

    class Counter(TrainerCallback):
        count = 0

        def on_step_end(self, args, state, control, **kwargs):
            self.count += 1

        def state(self):
            return {"args": {}, "attributes": {"count": self.count}}

    make(output_dir=str(tmp_path), save_strategy="steps", max_steps=3, callbacks=[DefaultFlowCallback, Counter]).train()
    counter = Counter()

    make(output_dir=str(tmp_path), max_steps=5, callbacks=[DefaultFlowCallback, counter]).train(
        resume_from_checkpoint=True
    )

    assert counter.count == 5


@pytest.mark.parametrize("resume", [True, "last", "path"])
def test_every_file_is_checked_once(make, tmp_path, monkeypatch, resume):
    """Not by each who reads it: the checksums of a large checkpoint take minutes."""
    make(output_dir=str(tmp_path), save_strategy="steps", max_steps=3).train()
    read = []
    monkeypatch.setattr(
        checkpoint, "_checksum", lambda path, checksum=checkpoint._checksum: read.append(path.name) or checksum(path)
    )

    make(output_dir=str(tmp_path), max_steps=5).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-3") if resume == "path" else resume
    )

    assert sorted(read) == [
        "model.safetensors",
        "optimizer.pt",
        "rank-0.pt",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.json",
    ]


def test_last_begins_anew_where_there_is_no_checkpoint_and_true_does_not(make, tmp_path):
    """A job that may be preempted says 'last' and needs no case of its own for the first time."""
    assert make(output_dir=str(tmp_path), max_steps=2).train(resume_from_checkpoint="last").global_step == 2

    with pytest.raises(CheckpointError, match="There is no complete checkpoint"):
        make(output_dir=str(tmp_path), max_steps=2).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("before", "after", "missing"),
    [("adamw_torch", "sgd", "dampening, momentum"), ("sgd", "adamw_torch", "betas, eps")],
)
def test_a_training_that_is_resumed_with_another_optimizer_is_refused(make, tmp_path, before, after, missing):
    """Where it is loaded, with what to do, and not as a KeyError of the first step."""
    settings = {"output_dir": str(tmp_path), "save_strategy": "steps"}
    make(optim=before, max_steps=2, save_steps=2, **settings).train()

    with pytest.raises(CheckpointError, match=f"saved by an optimizer without {missing}. Use the optimizer"):
        make(optim=after, max_steps=4, **settings).train(resume_from_checkpoint=True)


def test_a_training_that_is_resumed_with_an_optimizer_of_the_same_options_continues(make, tmp_path):
    """AdamW and its fused form."""
    settings = {"output_dir": str(tmp_path), "save_strategy": "steps"}
    make(optim="adamw_torch_fused", max_steps=2, save_steps=2, **settings).train()

    assert make(optim="adamw_torch", max_steps=4, **settings).train(resume_from_checkpoint=True).global_step == 4
