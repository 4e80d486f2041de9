"""Checkpoints written in the background are those that would have been written at once, or are not there."""

import logging
import os
import signal
import threading

import pytest
import torch
from torch import nn

from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback
from runcast.trainer.checkpoints import snapshot
from runcast.trainer.checkpoints.files import verify
from runcast.trainer.trainer import Trainer
from tests.trainer.jobs import content, results, run_job
from tests.waiting import wait_for


class Gate(TrainerCallback):
    """Holds back the writing of a checkpoint until a later step, waits for it, and notes what is announced when."""

    def __init__(self, opens_at, waits):
        self.opens_at, self.waits, self.open, self.seen, self.step = opens_at, waits, threading.Event(), [], 0

    def on_step_end(self, args, state, control, **kwargs):
        self.step = state.global_step
        if self.step >= self.opens_at:
            self.open.set()
        if self.step == self.opens_at and self.waits:
            wait_for(lambda: not writers())

    def on_save(self, args, state, control, **kwargs):
        folder = os.path.join(args.output_dir, f"checkpoint-{state.global_step}")
        self.seen.append((verify(snapshot.Path(folder))["step"], self.step))


def writers():
    """List the threads that write a checkpoint."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("runcast-checkpoint")]


class Tied(nn.Module):
    """Two layers with one weight, dropout, and a buffer that changes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
        self.second.weight = self.first.weight
        self.norm, self.dropout = nn.BatchNorm1d(64), nn.Dropout(0.2)

    def forward(self, image):
        return self.last(self.dropout(self.norm(self.second(self.first(image)))))


@pytest.fixture
def gated(monkeypatch):
    """Return a function that makes a callback which holds back everything large until a step."""

    def gated(opens_at, then=lambda folder: None, waits=True):
        gate, write = Gate(opens_at, waits), snapshot.save_tensors

        def save_tensors(value, path):
            assert gate.open.wait(30), "the training waits for what is to be written in the background"
            then(path.parent)
            write(value, path)

        monkeypatch.setattr(snapshot, "save_tensors", save_tensors)
        return gate

    return gated


def train(make, folder, callbacks=(), **settings):
    """Train six steps of noisy digits, and save at the third and the last."""
    own = {"train_dataset": make.Digits(44, noise=0.1), "model": Tied(), "callbacks": list(callbacks)}
    chosen = {"output_dir": str(folder), "max_steps": 6, "save_strategy": "steps", "save_steps": 3} | settings
    trainer = make(**own, **chosen)
    trainer.train(resume_from_checkpoint=chosen.get("resume_from_checkpoint"))
    return trainer


def test_what_is_written_later_is_what_was_at_the_step(make, tmp_path, gated):
    """Bit for bit, though weights, moments, statistics and random numbers change meanwhile; the training is the same.

    Also resumed from it, a training ends with the very same weights.
    """
    at_once = train(make, tmp_path / "at once")
    gate = gated(5)
    later = train(make, tmp_path / "later", [gate], async_save=True)

    assert gate.seen == [(3, 5), (6, 6)]
    for step in (3, 6):
        one, other = (tmp_path / name / f"checkpoint-{step}" for name in ("at once", "later"))
        assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
        for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rank-0.pt"):
            assert content(one / name) == content(other / name), (step, name)
        assert verify(other)["shapes"] == verify(one)["shapes"]
    resumed = train(make, tmp_path / "later", resume_from_checkpoint=str(tmp_path / "later" / "checkpoint-3"))
    assert make.same_weights(at_once.model, later.model)
    assert make.same_weights(at_once.model, resumed.model)


def test_it_is_announced_at_a_later_step_with_its_own_state(make, tmp_path, gated):
    """The state of the training has gone on; that of `on_save` is the checkpoint's, so its folder is found."""
    seen = []
    gate = gated(4)
    trainer = train(
        make,
        tmp_path / "out",
        [gate, ("on_save", lambda args, state, control, **_: seen.append((state.global_step, state.epoch)))],
        async_save=True,
        num_train_epochs=1,
        per_device_train_batch_size=8,
        max_steps=-1,
    )

    assert gate.seen == [(3, 4), (6, 6)]
    assert seen == [(3, 0.5), (6, 1.0)]
    assert trainer.state.global_step == 6


def test_a_second_save_waits_for_the_first(make, tmp_path, gated):
    """At each step one, and none is left out; older ones are deleted only when the newer one is complete."""
    left = []
    gate = gated(
        1, then=lambda folder: left.append(sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")))
    )
    train(make, tmp_path / "out", [gate], async_save=True, save_steps=1, save_total_limit=1)

    assert [step for step, _ in gate.seen] == [1, 2, 3, 4, 5, 6]
    assert left == [[], [], []] + [[f"checkpoint-{step}"] for step in (1, 2, 3, 4, 5) for _ in range(3)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-6"]


@pytest.mark.parametrize("settings", [{"save_total_limit": 1}, {"save_strategy": "best"}, {"top_k": 2}])
def test_the_same_checkpoints_are_kept_and_the_same_is_best(make, tmp_path, settings):
    """As where each is written at once: limits, the best model, and the callback that keeps the best ones."""
    found = []
    for name, async_save in (("at once", False), ("later", True)):
        scores = iter([0.1, 0.9, 0.5, 0.4, 0.95, 0.3])
        own = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "load_best_model_at_end": True}
        kept = {key: value for key, value in settings.items() if key != "top_k"}
        top = [ModelCheckpointCallback(top_k=settings["top_k"])] if "top_k" in settings else []
        trainer = make(
            callbacks=top,
            output_dir=str(tmp_path / name),
            max_steps=6,
            metric_for_best_model="score",
            compute_metrics=lambda p, scores=scores: {"score": next(scores)},
            async_save=async_save,
            **{**own, "save_strategy": "steps", **kept},
        )
        trainer.train()
        best = os.path.basename(trainer.state.best_model_checkpoint)
        files = sorted(path.name for path in (tmp_path / name).iterdir())
        found.append((best, files, trainer.state.best_metric, [p.sum().item() for p in trainer.model.parameters()]))

    assert found[0] == found[1]
    assert found[1][0] == "checkpoint-5"


def test_what_cannot_be_written_costs_a_message_and_nothing_else(make, tmp_path, gated, caplog):
    """As where it is written at once: no half of it stays, it is not announced, and not the best."""

    def fill(folder):
        if "checkpoint-2" in folder.name:
            raise OSError("no space left")

    gate = gated(1, then=fill)
    with caplog.at_level(logging.ERROR):
        train(make, tmp_path / "out", [gate], async_save=True, save_steps=1, max_steps=3)

    assert [step for step, _ in gate.seen] == [1, 3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint-1", "checkpoint-3"]
    assert "checkpoint-2 was not written: no space left. The older ones are unchanged" in caplog.text


@pytest.mark.parametrize("max_steps", [3, 9])
def test_any_other_failure_ends_the_training(make, tmp_path, gated, max_steps):
    """At the next step, or at the end where there is none."""

    def fail(folder):
        raise RuntimeError("cannot be pickled")

    with pytest.raises(RuntimeError, match="cannot be pickled"):
        train(make, tmp_path / "out", [gated(3, then=fail)], async_save=True, max_steps=max_steps)

    assert list((tmp_path / "out").iterdir()) == []


def test_sigterm_waits_for_it_and_saves_the_last_step(make, tmp_path, gated):
    """Both are whole; each is announced once."""
    gate = gated(5)
    with pytest.raises(SystemExit) as left:
        train(
            make,
            tmp_path / "out",
            [gate, ("on_step_end", lambda args, state, *_, **__: state.global_step == 5 and os.kill(os.getpid(), 15))],
            async_save=True,
            enable_jit_checkpoint=True,
            max_steps=9,
        )

    assert left.value.code == 143
    assert gate.seen == [(3, 5), (5, 5)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint-3", "checkpoint-5"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_training_that_fails_meanwhile_leaves_it_whole(make, tmp_path, gated, error):
    """It is announced, the failure is what is raised, and no thread is left."""
    gate = gated(4, waits=False)

    def fail(args, state, control, **kwargs):
        if state.global_step == 4:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        train(make, tmp_path / "out", [gate, ("on_step_end", fail)], async_save=True)

    assert gate.seen == [(3, 4)]  # the step of the failure
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoint-3"]
    assert not writers()


def test_switches_that_are_set_when_it_is_announced_hold(make, tmp_path, gated):
    """A callback stops the training; a save that was asked for at the same step is not forgotten."""
    gate = gated(4)

    def ask(args, state, control, **kwargs):
        control.should_save = state.global_step in (3, 4)

    def stop(args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3

    callbacks = [gate, ("on_step_end", ask), ("on_save", stop)]
    trainer = train(make, tmp_path / "out", callbacks, async_save=True, save_steps=100, max_steps=9)

    assert gate.seen == [(3, 4), (4, 4)]
    assert trainer.state.global_step == 4


def test_an_overridden_save_model_is_refused(make, tmp_path):
    """It reads the model, which the training changes meanwhile."""

    class Own(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            return super().save_model(output_dir, _internal_call)

    given = make(async_save=True, max_steps=2, output_dir=str(tmp_path))
    with pytest.raises(OptionError, match="async_save=True cannot save with an overridden save_model"):
        Own(given.model, given.args, train_dataset=make.Digits(8)).train()


@pytest.mark.slow
def test_ranks_write_and_announce_it_together(tmp_path):
    """With DDP and with FSDP: at the same step on each rank, the same as at once, and what one of them stops all stop."""
    first, second = results(tmp_path, "in_background", 2)

    assert first == second
    for kind in ("ddp", "fsdp"):
        assert (first[kind]["files"], first[kind]["different"]) == (True, [])
        assert [step for step, _ in first[kind]["seen"]] == [2, 4, 6]
        at_once, later, resumed = first[kind]["weights"]
        assert at_once == later == resumed
    assert first["stopped"] in (3, 4)  # the writer is a thread: it may be a step behind


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_in_the_middle_the_previous_one_is_whole(tmp_path, processes):
    """SIGKILL while the optimizer is written and the training goes on: 'last' takes the one before.

    The resumed training ends with the weights of one that was left alone.
    """
    job = run_job(tmp_path, "killed_in_background", processes)

    assert job.codes == [-signal.SIGKILL, *[1] * (processes - 1)], job.outputs
    if processes == 1:  # the second rank, which loses the connection, deletes it
        assert (tmp_path / "out" / ".checkpoint-4.partial" / "optimizer.pt").stat().st_size > 0
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]
    for found in results(tmp_path, "after_the_kill", processes):
        assert found["from"] == ["checkpoint-2"]
        assert found["weights"][0] == found["weights"][1]
        assert found["left"] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
