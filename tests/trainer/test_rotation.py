"""Which checkpoints go when there are too many: the oldest, whatever their numbers are, and only our own."""

import shutil

import pytest
from torch import nn

from runcast.core.events import TrainerCallback
from runcast.trainer.checkpoints.files import list_checkpoints, verify


class Saves(TrainerCallback):
    """What is on disk when a save is announced."""

    def __init__(self):
        self.whole = []

    def on_save(self, args, state, control, **kwargs):
        from pathlib import Path

        self.whole.append(verify(Path(args.output_dir) / f"checkpoint-{state.global_step}")["step"])


def names(folder):
    """List what lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def train(make, tmp_path):
    """Return a function that trains so many steps, with a save at each, and returns what the saves have seen."""

    def train(steps, resume=None, **settings):
        saves = Saves()
        settings = {"save_strategy": "steps", "save_steps": 1, "output_dir": str(tmp_path / "out")} | settings
        trainer = make(max_steps=steps, callbacks=[saves, *settings.pop("callbacks", [])], **settings)
        trainer.train(resume_from_checkpoint=resume)
        return saves.whole

    return train


@pytest.mark.parametrize(("limit", "left"), [(1, ["checkpoint-3"]), (2, ["checkpoint-2", "checkpoint-3"])])
def test_the_checkpoints_of_an_earlier_longer_training_go_first(train, tmp_path, limit, left):
    """The highest number is not the newest checkpoint; what was just written is there when on_save is called."""
    train(5)

    assert train(3, save_total_limit=limit) == [1, 2, 3]
    assert names(tmp_path / "out") == left


def test_the_order_holds_whatever_the_clock_says(train, tmp_path, monkeypatch):
    """Also where the earlier training was written by a machine whose clock is ahead."""
    with monkeypatch.context() as ahead:
        ahead.setattr("runcast.trainer.checkpoints.files.time.time", lambda: 4e9)
        train(4)

    assert train(3, save_total_limit=2) == [1, 2, 3]
    assert names(tmp_path / "out") == ["checkpoint-2", "checkpoint-3"]


def test_the_last_checkpoint_is_the_newest_one(train, make, tmp_path):
    """'last' resumes the latest training, not the longest one; a copy of the folder gives the same answer."""
    train(4)
    train(2)
    shutil.copytree(tmp_path / "out", tmp_path / "copy", copy_function=shutil.copyfile)

    assert list_checkpoints(tmp_path / "copy")[-1].name == "checkpoint-2"
    assert train(3, resume="last", output_dir=str(tmp_path / "copy")) == [3]


def test_a_resumed_training_rotates_what_it_goes_back_behind(train, tmp_path):
    """The checkpoints behind the one that is resumed from are older than what comes now."""
    train(4)

    assert train(3, resume=tmp_path / "out" / "checkpoint-1", save_total_limit=2) == [2, 3]
    assert names(tmp_path / "out") == ["checkpoint-2", "checkpoint-3"]


def test_what_this_trainer_did_not_write_stays(train, tmp_path):
    """Folders with other names, folders of another trainer, files, links: none is deleted, none counts."""
    out = tmp_path / "out"
    foreign = ["checkpoint-best", "checkpoint-12-old", "checkpoint-0x1", "my-checkpoint-1", "checkpoint-77"]
    for name in foreign:
        (out / name).mkdir(parents=True)
        (out / name / "mine").write_text("kept")
    (out / "checkpoint-3").write_text("a file")
    (tmp_path / "elsewhere").mkdir()
    (out / "checkpoint-99").symlink_to(tmp_path / "elsewhere")

    train(5, save_total_limit=2)

    assert names(out) == sorted([*foreign, "checkpoint-3.kept-1", "checkpoint-4", "checkpoint-5", "checkpoint-99"])
    assert (out / "checkpoint-3.kept-1").read_text() == "a file"
    assert all((out / name / "mine").read_text() == "kept" for name in foreign)


@pytest.mark.parametrize("limit", [1, 2])
def test_the_best_one_stays_beside_the_newest(train, make, tmp_path, limit):
    """Also where it was written in an earlier session."""
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3])
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_total_limit": limit,
        "load_best_model_at_end": True,
        "metric_for_best_model": "score",
        "compute_metrics": lambda p: {"score": next(scores)},
    }
    train(3, **settings)
    train(5, resume="last", **settings)

    assert names(tmp_path / "out") == ["checkpoint-2", "checkpoint-5"]


def test_a_folder_that_was_moved_keeps_its_best_one(train, tmp_path):
    """The path that the state remembers is from before."""
    scores = iter([0.9, 0.5, 0.4, 0.3])
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "score",
        "compute_metrics": lambda p: {"score": next(scores)},
    }
    train(2, **settings)
    (tmp_path / "out").rename(tmp_path / "moved")
    train(4, resume="last", output_dir=str(tmp_path / "moved"), **settings)

    assert names(tmp_path / "moved") == ["checkpoint-1", "checkpoint-4"]


def test_checkpoints_of_a_callback_are_rotated_like_all_others(train, make, tmp_path):
    """Every checkpoint that was written counts, whoever asked for it."""
    from runcast.callbacks.saving import ModelCheckpointCallback

    out = tmp_path / "out"
    out.mkdir()
    (out / "best").write_text("mine")
    seen = train(
        6,
        save_steps=4,
        save_total_limit=2,
        callbacks=[ModelCheckpointCallback(every_steps=3)],
        model=nn.Sequential(*make.Net().children()),
        data_collator=None,
    )

    assert seen == [3, 4, 6]
    assert names(out) == ["best", "checkpoint-4", "checkpoint-6", "last"]
    assert (out / "best").read_text() == "mine"
