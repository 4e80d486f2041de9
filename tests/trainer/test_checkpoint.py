"""Checkpoints are whole or not there; a damaged or foreign one is refused with a reason."""

import json
import logging
import resource

import pytest
import torch

from runcast.core.errors import CheckpointError
from runcast.trainer.checkpoints.files import list_checkpoints, load_tensors, verify, writing


def names(folder):
    """List the checkpoints in a folder by name."""
    return [path.name for path in list_checkpoints(folder)]


@pytest.fixture
def saved(make, tmp_path):
    """Return a checkpoint of a training of two steps."""
    make(max_steps=2, save_strategy="steps", output_dir=str(tmp_path / "out")).train()
    return tmp_path / "out" / "checkpoint-2"


def test_a_checkpoint_holds_what_is_needed_to_go_on(saved):
    """The files have the names that people know."""
    assert sorted(path.name for path in saved.iterdir()) == [
        "checkpoint.json",
        "model.safetensors",
        "optimizer.pt",
        "rank-0.pt",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.json",
    ]
    assert verify(saved)["step"] == 2


def test_weights_alone_are_smaller_and_cannot_be_resumed_from(make, tmp_path):
    """save_only_model says so."""
    settings = {"output_dir": str(tmp_path), "max_steps": 2}
    make(save_strategy="steps", save_only_model=True, **settings).train()

    assert not (tmp_path / "checkpoint-2" / "optimizer.pt").exists()
    with pytest.raises(CheckpointError, match="holds weights only"):
        make(**settings).train(resume_from_checkpoint=True)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rank-0.pt", "trainer_state.json"])
def test_a_changed_or_missing_file_is_named(make, saved, name):
    """Nothing damaged is loaded."""
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"damaged: {name}: its content has changed"):
        make().train(resume_from_checkpoint=saved)

    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=rf"damaged: {name}: it is missing"):
        make().train(resume_from_checkpoint=saved)


def test_the_newest_whole_checkpoint_is_found(make, tmp_path, caplog):
    """A damaged one is passed over with a message."""
    settings = {"output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 1}
    make(max_steps=3, **settings).train()
    (tmp_path / "checkpoint-3" / "optimizer.pt").write_bytes(b"")

    with caplog.at_level(logging.WARNING):
        trainer = make(max_steps=2, **settings)
        trainer.train(resume_from_checkpoint="last")

    assert trainer.state.global_step == 2
    assert "checkpoint-3 is damaged: optimizer.pt" in caplog.text


def test_a_checkpoint_of_another_model_is_refused_before_anything_is_loaded(make, saved):
    """The message names weights that differ."""
    trainer = make(model=make.Net(width=8))
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]

    with pytest.raises(
        CheckpointError, match=r"of another model: 3 weights differ: layers.0.bias \(checkpoint \[16\], model \[8\]\)"
    ):
        trainer.train(resume_from_checkpoint=saved)

    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_foreign_or_missing_checkpoint_is_refused(make, tmp_path):
    """The message says what to do instead."""
    (tmp_path / "foreign").mkdir()

    with pytest.raises(
        CheckpointError, match=r"this trainer did not write it\. Load its weights into the model instead"
    ):
        make().train(resume_from_checkpoint=tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        make().train(resume_from_checkpoint=tmp_path / "nowhere")


def test_a_checkpoint_of_a_newer_format_is_refused(make, saved):
    """It says which format it reads."""
    manifest = json.loads((saved / "checkpoint.json").read_text())
    (saved / "checkpoint.json").write_text(json.dumps(manifest | {"format": 99}))

    with pytest.raises(CheckpointError, match="has format 99, this version reads 1"):
        make().train(resume_from_checkpoint=saved)


def test_pickled_code_in_a_checkpoint_is_not_run(tmp_path):
    """A file that would run code when unpickled is refused."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was run"), "w"))

    torch.save({"state": Evil()}, tmp_path / "optimizer.pt")

    with pytest.raises(CheckpointError, match=r"damaged: optimizer\.pt"):
        load_tensors(tmp_path / "optimizer.pt")
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize("limit_bytes", [100, 3_000, 8_000], ids=["first file", "weights", "optimizer"])
def test_a_full_disk_costs_the_checkpoint_and_nothing_else(make, tmp_path, caplog, limit_bytes):
    """Whichever file fails.

    The older checkpoint survives, nothing half-written stays, the training goes on, no on_save is announced.
    """
    seen, unlimited = [], resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(args, state, control, **kwargs):
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit_bytes if state.global_step == 2 else unlimited[0], unlimited[1])
        )

    trainer = make(output_dir=str(tmp_path / "out"), max_steps=3, save_strategy="steps", save_steps=1)
    trainer.add_callback("on_save", lambda args, state, control, **kw: seen.append(state.global_step))
    trainer.add_callback("on_step_end", fill)

    try:
        with caplog.at_level(logging.ERROR):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["checkpoint-1", "checkpoint-3"]
    assert seen == [1, 3]
    assert "checkpoint-2 was not written: " in caplog.text


def test_an_interrupted_write_leaves_the_older_checkpoint_of_the_same_name(tmp_path):
    """Until everything is written, the folder is as it was."""
    root = tmp_path / "out"
    target = root / "checkpoint-1"
    target.mkdir(parents=True)
    (target / "old").touch()

    with pytest.raises(KeyboardInterrupt), writing(target) as folder:  # noqa: PT012
        (folder / "new").touch()
        raise KeyboardInterrupt

    assert [path.name for path in root.iterdir()] == ["checkpoint-1"]
    assert [path.name for path in target.iterdir()] == ["old"]

    with writing(target) as folder:
        (folder / "new").touch()

    assert [path.name for path in root.iterdir()] == ["checkpoint-1"]
    assert [path.name for path in target.iterdir()] == ["new"]


def test_the_oldest_checkpoints_go_and_the_best_one_stays(make, tmp_path):
    """save_total_limit=2 keeps the best and the newest."""
    scores = iter([0.1, 0.9, 0.5, 0.4, 0.3])
    trainer = make(
        output_dir=str(tmp_path),
        max_steps=5,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        compute_metrics=lambda p: {"score": next(scores)},
    )

    trainer.train()

    assert names(tmp_path) == ["checkpoint-2", "checkpoint-5"]
    assert (trainer.state.best_metric, trainer.state.best_global_step) == (0.9, 2)


def test_the_best_weights_are_loaded_at_the_end(make, tmp_path):
    """The model that is left is the best one, not the last one."""
    scores = iter([0.1, 0.9, 0.5])
    settings = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "best",
        "metric_for_best_model": "score",
        "load_best_model_at_end": True,
    }
    trainer = make(output_dir=str(tmp_path), max_steps=3, compute_metrics=lambda p: {"score": next(scores)}, **settings)

    trainer.train()

    from safetensors.torch import load_file

    best = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    assert all(torch.equal(best[name], value) for name, value in trainer.model.state_dict().items())
