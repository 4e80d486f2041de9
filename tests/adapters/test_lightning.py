"""lightning.Trainer and Fabric report through RuncastLogger: one run, whatever is done with the trainer."""

import copy
import pickle
from argparse import Namespace
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import runcast
from runcast.adapters.lightning import RuncastLogger
from runcast.run.init import init
from tests.adapters.kit import BrokenAtTheEnd, only_run_in, run_well, runs_in
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer
from tests.warm import LIGHTNING


def test_a_training_is_told_completely(folder):
    """Names and steps as Lightning gives them, hyperparameters as params, the status."""
    make_trainer(RuncastLogger("none")).fit(Tiny(), loader(), loader())

    told = only_run_in(folder)
    assert told.steps("train_loss") == [1, 3, 5, 7, 9, 11]
    assert told.steps("val_loss") == [5, 11]
    assert told.params == {"learning_rate": 0.1, "step": 2}
    assert told.endings == ["finished"]


def test_what_follows_the_training_goes_on_with_its_run(folder):
    """validate, test, predict and a second fit make no other run."""
    logger = RuncastLogger("none")
    trainer = make_trainer(logger)
    model = Tiny()

    trainer.fit(model, loader(), loader())
    trainer.validate(model, loader(), verbose=False)
    trainer.test(model, loader(), verbose=False)
    trainer.predict(model, loader())
    trainer.fit_loop.max_epochs = 3
    trainer.fit(model, loader(), loader())
    make_trainer(logger).test(model, loader(), verbose=False)

    told = only_run_in(folder)
    assert told.steps("train_loss") == [1, 3, 5, 7, 9, 11, 13, 15, 17]
    assert len(told.steps("test_loss")) == 2
    assert set(told.endings) == {"finished"}


def test_a_run_of_the_user_stays_open_over_all_stages(folder):
    """`with runcast.init()` around everything is one session."""
    with init(report_to="none") as run:
        trainer = make_trainer(RuncastLogger(run=run))
        trainer.fit(Tiny(), loader())
        trainer.test(Tiny(), loader(), verbose=False)

        assert run.status is None
        assert trainer.logger.experiment is run

    assert only_run_in(folder).endings == ["finished"]


def test_a_run_is_gone_on_with_by_its_id(folder):
    """What resumes from Lightning's checkpoint names the run by its id, and the steps go on."""
    checkpoint = ModelCheckpoint(save_last=True)
    settings = {"enable_checkpointing": True, "callbacks": [checkpoint]}
    make_trainer(RuncastLogger("none", id="mine"), max_epochs=1, **settings).fit(Tiny(), loader())

    again = make_trainer(RuncastLogger("none", id="mine"), **settings)
    again.fit(Tiny(), loader(), ckpt_path=checkpoint.last_model_path)

    told = only_run_in(folder)
    assert told.steps("train_loss") == [1, 3, 5, 7, 9, 11]
    assert told.endings == ["finished"] * 2


def test_checkpoints_lie_in_the_folder_of_the_run(folder):
    """So that a run's folder is whole; Lightning puts them into save_dir/name/version."""
    trainer = make_trainer(RuncastLogger("none"), enable_checkpointing=True)

    trainer.fit(Tiny(), loader())

    told = only_run_in(folder)
    assert [path.name for path in told.path.glob("checkpoints/*")] == ["epoch=1-step=12.ckpt"]
    assert trainer.logger.version == told.path.name
    assert Path(trainer.logger.log_dir).resolve() == told.path
    assert told.artifacts == []


@pytest.mark.parametrize(
    ("log_model", "expected"),
    [
        (True, {"model-best": 1, "model-last": 1}),
        ("all", {"epoch=0-step=6.ckpt": 1, "epoch=1-step=12.ckpt": 1, "last.ckpt": 2}),
    ],
)
def test_checkpoints_are_kept_when_asked_for(folder, log_model, expected):
    """log_model=True: the best and the last one at the end; "all": each when it is saved."""
    checkpoint = ModelCheckpoint(save_last=True, save_top_k=-1, every_n_epochs=1)
    trainer = make_trainer(
        RuncastLogger("none", log_model=log_model), enable_checkpointing=True, callbacks=[checkpoint]
    )

    trainer.fit(Tiny(), loader())

    names = [name for name, kind in only_run_in(folder).artifacts if kind == "model"]
    assert {name: names.count(name) for name in names} == expected


def test_a_wrong_log_model_is_an_error_at_once():
    """It names the valid values."""
    with pytest.raises(runcast.OptionError, match="True, False, 'all'"):
        RuncastLogger("none", log_model="best")


def test_several_loggers_side_by_side_are_told_the_same(folder):
    """Another logger of Lightning's, and a second run of ours with a prefix."""
    csv = CSVLogger(folder / "csv", name="", version="")
    loggers = [RuncastLogger("none", id="first"), csv, RuncastLogger("none", id="second", prefix="mine")]

    make_trainer(loggers).fit(Tiny(), loader())

    first, second = sorted(runs_in(folder), key=lambda told: told.path.name)
    values = first.points["train_loss"]
    assert second.points["mine/train_loss"] == values
    rows = [line.split(",") for line in (folder / "csv" / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("train_loss")
    assert [float(row[column]) for row in rows[1:]] == pytest.approx([value for _, value in values])


def test_an_error_of_the_user_is_the_one_that_is_seen(folder):
    """D15: theirs may hide it behind an error of a logger's finalize; a tracker of ours that breaks there cannot."""
    logger = RuncastLogger([BrokenAtTheEnd], delivery="thread")

    with pytest.raises(RuntimeError, match="diverged"):
        make_trainer([logger, CSVLogger(folder / "csv")]).fit(Tiny(RuntimeError("diverged")), loader())

    assert only_run_in(folder).endings == ["failed"]


def test_gradient_accumulation_is_counted_as_lightning_counts(folder):
    """Lightning's step counts the optimizer steps."""
    make_trainer(RuncastLogger("none"), accumulate_grad_batches=3, log_every_n_steps=1).fit(Tiny(), loader())

    assert set(only_run_in(folder).steps("train_loss")) == {0, 1, 2, 3}


def test_media_are_logged_as_with_lightnings_own_loggers(folder):
    """log_image, log_audio, log_table, log_text and hyperparameters of a Namespace with their metrics."""
    logger = RuncastLogger("none")

    logger.log_image("samples", [np.zeros((4, 4, 3)), torch.zeros(1, 4, 4)], step=3, caption=["a", "b"])
    logger.log_image("one", [np.zeros((4, 4))], step=3)
    logger.log_audio("sound", [np.zeros(100)], step=4, sample_rate=[8000])
    logger.log_table("table", columns=["x", "y"], data=[[1, 2], [3, 4]], step=5)
    logger.log_text("text", columns=["said"], data=[["hello"]], step=6)
    logger.log_hyperparams(Namespace(width=3, nested={"a": 1}), {"score": 0.5})
    logger.finalize("success")

    told = only_run_in(folder)
    assert told.media == [
        ("samples/0", "image", 3),
        ("samples/1", "image", 3),
        ("one", "image", 3),
        ("sound", "audio", 4),
        ("table", "table", 5),
        ("text", "table", 6),
    ]
    assert told.params == {"width": 3, "nested/a": 1}
    assert told.points["score"] == [(0, 0.5)]


def test_fabric_reports_too(folder):
    """Log and log_dict of a Fabric, at the user's step; its own launcher need not be told."""
    logger = RuncastLogger("none")
    fabric = lightning.Fabric(accelerator="cpu", loggers=logger)
    fabric.launch()

    for step in range(3):
        fabric.log_dict({"loss": torch.tensor(1.0 / (step + 1)), "lr": 0.1}, step=step)
    fabric.log("accuracy", 0.5, step=3)
    logger.finalize("success")

    told = only_run_in(folder)
    assert told.steps("loss") == [0, 1, 2]
    assert told.points["accuracy"] == [(3, 0.5)]


def test_a_device_tensor_is_logged_as_it_is(folder):
    """What Lightning or the user hands over is not read by the logger: a tensor stays one until runcast copies it."""
    logger = RuncastLogger("none")

    logger.log_metrics({"loss": torch.tensor(0.25, requires_grad=True)}, step=1)
    logger.finalize("success")

    assert only_run_in(folder).points["loss"] == [(1, 0.25)]


def test_copies_of_a_logger_share_its_run(folder):
    """Copying and pickling neither finish the run nor open another one; after an end, any copy resumes it."""
    logger = RuncastLogger("none")
    logger.log_metrics({"loss": 1.0}, 0)
    run = logger.experiment

    other = pickle.loads(pickle.dumps(logger))
    third = copy.deepcopy(logger)
    assert run.status is None
    assert other.experiment is third.experiment is copy.copy(logger).experiment is run
    other.log_metrics({"loss": 0.5}, 1)
    other.finalize("success")
    third.log_metrics({"loss": 0.25}, 2)
    third.finalize("failed")

    told = only_run_in(folder)
    assert told.steps("loss") == [0, 1, 2]
    assert told.endings == ["finished", "failed"]


def test_copies_made_before_the_run_is_opened_share_it_too(folder):
    """The run's id is settled when the logger is made."""
    logger = RuncastLogger("none")
    other = pickle.loads(pickle.dumps(logger))

    logger.log_metrics({"loss": 1.0}, 0)
    other.log_metrics({"loss": 0.5}, 1)
    logger.finalize("success")

    told = only_run_in(folder)
    assert (logger.version, told.steps("loss"), told.endings) == (told.path.name, [0, 1], ["finished"])


SCRIPT = """
import lightning
from runcast.adapters.lightning import RuncastLogger
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer

if __name__ == "__main__":
    logger = RuncastLogger("none")
    rank = make_trainer(logger).strategy.global_rank
    logger.log_metrics({"early": 1.0}, 0)
    trainer = make_trainer(logger, devices=2, strategy="ddp", enable_checkpointing=True)
    trainer.fit(Tiny(), loader(), loader())
    trainer.test(Tiny(), loader(), verbose=False)
    print("rank", trainer.global_rank, type(logger.experiment).__name__)
"""


@pytest.mark.slow
def test_one_run_with_lightnings_own_launcher(folder):
    """Two processes that Lightning starts: rank zero reports, also what is logged before the launch."""
    printed = run_well(SCRIPT, folder, modules=LIGHTNING)

    told = only_run_in(folder)
    assert sorted(line for line in printed.splitlines() if line.startswith("rank")) == [
        "rank 0 Run",
        "rank 1 _DummyExperiment",
    ]
    assert told.steps("train_loss") == [1, 3, 5]
    assert told.steps("early") == [0]
    assert len(list(told.path.glob("checkpoints/*.ckpt"))) == 1
    assert set(told.endings) == {"finished"}


ALONE = """
import pytorch_lightning
from runcast.adapters.lightning import RuncastLogger

logger = RuncastLogger("none")
assert isinstance(logger, pytorch_lightning.loggers.Logger)
trainer = pytorch_lightning.Trainer(logger=logger, max_epochs=1, enable_progress_bar=False)
assert trainer.loggers == [logger]
"""


@pytest.mark.slow
def test_the_package_pytorch_lightning_is_served_too(folder):
    """The logger is of the package that the script has imported."""
    run_well(ALONE, folder)
