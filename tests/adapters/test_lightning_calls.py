"""The calls that Lightning's users make on the loggers they know: arguments, shapes and orders of events."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

import runcast
from runcast.adapters.lightning import RuncastLogger
from runcast.run.init import init
from tests.adapters.kit import only_run_in, run_well
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer
from tests.warm import LIGHTNING


def dropped(told):
    """List the keys and reasons of what was counted and not kept."""
    return [(record["key"], record["reason"]) for record in told.of_type("dropped")]


def test_a_logger_without_arguments_joins_the_run_of_the_script(folder):
    """Whatever that run reports to, and however "everything" is written."""
    with init(report_to="none") as run:
        for logger in (RuncastLogger(), RuncastLogger("all"), RuncastLogger(["ALL"])):
            assert logger.experiment is run


def test_what_is_no_run_is_an_error_at_once():
    """As a name, or another tracker's run."""
    with pytest.raises(runcast.OptionError, match=r"run='mine' is no run of runcast"):
        RuncastLogger("none", run="mine")


def test_hyperparameters_come_with_metrics_of_every_form(folder):
    """As TensorBoardLogger takes them: a dict, a number, at a step; as CSVLogger does: none at all."""
    logger = RuncastLogger("none")

    logger.log_hyperparams()
    logger.log_hyperparams({"lr": 0.1}, 0.7)
    logger.log_hyperparams({"lr": 0.1}, {"score": 0.5}, 3)
    logger.log_hyperparams({"lr": 0.1}, metrics={}, step=None)
    logger.finalize("success")

    told = only_run_in(folder)
    assert told.points == {"hp_metric": [(0, 0.7)], "score": [(3, 0.5)]}
    assert told.params == {"lr": 0.1}


def test_one_picture_needs_no_list(folder):
    """A bare tensor, a batch, a path; a caption for all, or fewer than pictures."""
    logger = RuncastLogger("none")
    picture = torch.rand(3, 8, 8)

    logger.log_image("one", picture, step=1, caption="the only one")
    logger.log_image("batch", picture.expand(2, 3, 8, 8), step=1)
    logger.log_image("iterator", iter([picture, picture]), step=1, caption=["a"])
    logger.log_audio("sound", np.zeros(100), step=1, sample_rate=8000)
    logger.log_video("frames", [torch.rand(4, 3, 8, 8)], step=1, fps=[4], caption=None)
    logger.finalize("success")

    told = only_run_in(folder)
    assert [key for key, _, _ in told.media] == [
        *("one", "batch/0", "batch/1", "iterator/0", "iterator/1", "sound", "frames")
    ]
    assert [record["caption"] for record in told.of_type("media")][:5] == ["the only one", None, None, "a", None]


def test_no_call_of_a_logger_ends_the_training(folder):
    """What cannot be kept is counted and reported."""

    class Odd(torch.nn.Module):
        def __repr__(self):
            raise RuntimeError("no words")

    logger = RuncastLogger("none", prefix="mine")

    logger.log_image("nothing", None, step=1)
    logger.log_image("boxed", [torch.rand(3, 8, 8)], step=1, boxes=[{}])
    logger.log_graph(Odd())
    logger.log_metrics(None, 1)
    logger.finalize("success")

    told = only_run_in(folder)
    assert [key for key, _, _ in told.media] == ["mine/boxed"]
    assert [key for key, _ in dropped(told)] == ["mine/nothing", "mine/boxed", "model.txt", "log"]
    assert dict(dropped(told))["mine/boxed"] == "is an Image that was kept without boxes, which it cannot hold"
    assert told.endings == ["finished"]


class Pictures(Tiny):
    """A module that calls the writer of TensorBoard, as Lightning's own documentation does."""

    def validation_step(self, batch, index):
        writer, step = self.logger.experiment, self.global_step
        writer.add_scalar("score", torch.tensor(0.5), step)
        writer.add_image("picture", torch.rand(3, 8, 8), step)
        writer.add_images("pictures", torch.rand(2, 8, 8, 3), step, dataformats="NHWC")
        writer.add_histogram("weights", self.layer.weight, global_step=step)
        figure = plt.figure()
        writer.add_figure("figure/0.5", figure, step)
        writer.add_video("video", torch.rand(1, 4, 3, 8, 8), step, fps=2)
        writer.add_text("text", "hello", step)
        assert not plt.fignum_exists(figure.number)


def test_the_experiment_takes_the_calls_of_tensorboard(folder):
    """Which modules make that were written for the logger that Lightning has without any."""
    make_trainer(RuncastLogger("none"), max_epochs=1, limit_val_batches=1).fit(Pictures(), loader(), loader())

    told = only_run_in(folder)
    assert told.points["score"] == [(6, 0.5)]
    assert [(key, kind) for key, kind, _ in told.media] == [
        ("picture", "image"),
        ("pictures/0", "image"),
        ("pictures/1", "image"),
        ("weights", "histogram"),
        ("figure/0.5", "image"),
        ("video", "video"),
        ("text", "text"),
    ]
    assert dropped(told) == []


@pytest.mark.parametrize(
    ("error", "status"), [(SIGTERMException(), "killed"), (SystemExit(0), "failed"), (SystemExit(143), "killed")]
)
def test_a_training_that_is_told_to_go_was_killed(folder, error, status):
    """Lightning raises an exit of its own for SIGTERM; any other exit from a training has not finished it."""
    with pytest.raises(SystemExit):
        make_trainer(RuncastLogger("none")).fit(Tiny(error), loader())

    assert only_run_in(folder).endings == [status]


def test_a_training_that_slurm_requeues_has_not_failed(folder):
    """Lightning tells the loggers "finished" before it saves and leaves."""
    logger = RuncastLogger("none")
    logger.log_metrics({"loss": 1.0}, 1)

    logger.finalize("finished")

    assert only_run_in(folder).endings == ["finished"]


def test_a_checkpoint_that_is_elsewhere_is_counted(folder):
    """Lightning can save into a bucket; runcast does not fetch it."""
    logger = RuncastLogger("none", log_model=True)
    logger.log_metrics({"loss": 1.0}, 1)
    saved = SimpleNamespace(best_model_path="s3://bucket/best.ckpt", last_model_path="")

    logger.after_save_checkpoint(saved)
    logger.finalize("success")

    told = only_run_in(folder)
    assert told.artifacts == []
    assert dict(dropped(told))["model-best"] == "is not on this machine, but at s3://bucket/best.ckpt"


def test_a_run_that_the_script_has_finished_itself_is_no_error_later(folder):
    """The checkpoints of a trainer that is gone are asked for nothing."""
    logger = RuncastLogger("none", log_model=True)
    settings = {"enable_checkpointing": True, "max_epochs": 1}

    class Finishes(Tiny):
        def on_train_end(self):
            self.logger.experiment.finish()

    make_trainer(logger, callbacks=[ModelCheckpoint()], **settings).fit(Finishes(), loader())
    make_trainer(logger, callbacks=[ModelCheckpoint()], **settings).fit(Tiny(), loader())

    assert only_run_in(folder).endings == ["finished", "finished"]


SCRIPT = """
import runcast
from runcast.adapters.lightning import RuncastLogger
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer

if __name__ == "__main__":
    with runcast.init(report_to="none", config={"seed": 0}) as run:
        run.log({"early": 1.0}, step=0)
        trainer = make_trainer(RuncastLogger(), devices=2, strategy="ddp")
        trainer.fit(Tiny(), loader())
        print("rank", trainer.global_rank, flush=True)
"""


@pytest.mark.slow
def test_a_run_of_the_script_is_one_under_lightnings_launcher(folder):
    """It runs the script again for each other rank, with a local rank and no RANK."""
    printed = run_well(SCRIPT, folder, modules=LIGHTNING)

    told = only_run_in(folder)
    assert sorted(line for line in printed.splitlines() if line.startswith("rank")) == ["rank 0", "rank 1"]
    assert (told.steps("early"), told.steps("train_loss"), told.endings) == ([0], [1, 3, 5], ["finished"])


def test_a_trial_that_optuna_prunes_was_killed(folder):
    """It has not failed; the study goes on with the next one."""
    optuna = pytest.importorskip("optuna")

    with pytest.raises(optuna.TrialPruned):
        make_trainer(RuncastLogger("none")).fit(Tiny(optuna.TrialPruned()), loader())

    assert only_run_in(folder).endings == ["killed"]
