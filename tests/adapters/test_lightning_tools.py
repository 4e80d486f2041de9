"""What Lightning's users have around a trainer: the tuner, launchers that spawn, the command line, other loggers' names."""

import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.tuner import Tuner
from torch.utils.data import DataLoader

import runcast
from runcast.adapters.lightning import RuncastLogger
from tests.adapters.kit import only_run_in, run_script, run_well, runs_in
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer
from tests.warm import LIGHTNING


class Sized(Tiny):
    """A module whose batch size can be tuned; batches of more than *fits* are out of memory."""

    def __init__(self, fits=8):
        super().__init__()
        self.batch_size, self.fits = 2, fits

    def train_dataloader(self):
        return DataLoader(torch.randn(64, 4), batch_size=self.batch_size)

    val_dataloader = predict_dataloader = train_dataloader

    def training_step(self, batch, index):
        if len(batch) > self.fits:
            raise RuntimeError("CUDA out of memory.")
        return super().training_step(batch, index)


def test_a_search_for_a_learning_rate_is_no_failure(folder):
    """Tuner.lr_find leaves `fit` by an exception of its own; the training after it is the same run."""
    trainer, model = make_trainer(RuncastLogger("none")), Tiny()

    found = Tuner(trainer).lr_find(model, loader(), num_training=20)

    assert len(found.results["lr"]) > 0
    assert set(only_run_in(folder).endings) == {"finished"}
    trainer.fit(model, loader())
    told = only_run_in(folder)
    assert told.steps("train_loss") == [1, 3, 5, 7, 9, 11]
    assert set(told.endings) == {"finished"}


@pytest.mark.parametrize("mode", ["power", "binsearch"])
@pytest.mark.parametrize("method", ["fit", "validate"])
def test_a_search_for_a_batch_size_is_no_failure(folder, mode, method):
    """Tuner.scale_batch_size runs out of memory on purpose."""
    trainer, model = make_trainer(RuncastLogger("none"), max_epochs=1), Sized()

    Tuner(trainer).scale_batch_size(model, mode=mode, method=method, max_trials=3, steps_per_trial=1)
    trainer.fit(model)

    told = only_run_in(folder)
    assert set(told.endings) == {"finished"}
    assert len(told.steps("train_loss")) >= 4


@pytest.mark.parametrize("finder", [LearningRateFinder(num_training_steps=5), BatchSizeFinder(steps_per_trial=1)])
def test_the_finders_as_callbacks_are_part_of_the_run(folder, finder):
    """What they try out is not logged."""
    trainer = make_trainer(RuncastLogger("none"), max_epochs=1, callbacks=[finder])

    trainer.fit(Sized(fits=4))

    told = only_run_in(folder)
    assert told.endings == ["finished"]
    steps = told.steps("train_loss")
    assert steps == sorted(set(steps))


SEARCH = """
from lightning.pytorch.tuner import Tuner
from runcast.adapters.lightning import RuncastLogger
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer

Tuner(make_trainer(RuncastLogger("none"))).lr_find(Tiny(ZeroDivisionError("mine"), step=0), loader(), num_training=20)
"""


@pytest.mark.slow
def test_an_error_in_a_search_is_a_failure(folder):
    """Lightning tells no logger of an exception of the user's own during lr_find; it ends the script, and so the run."""
    assert run_script(SEARCH, folder, modules=LIGHTNING).returncode == 1

    told = only_run_in(folder)
    assert told.endings == ["failed"]
    assert "mine" in told.of_type("finish")[0]["error"]


def test_a_sanity_check_that_fails_is_a_failure(folder):
    """The validation before the training belongs to it."""

    class Broken(Tiny):
        def validation_step(self, batch, index):
            raise LookupError("no labels")

    with pytest.raises(LookupError):
        make_trainer(RuncastLogger("none"), num_sanity_val_steps=2).fit(Broken(), loader(), loader())

    assert only_run_in(folder).endings == ["failed"]


def test_the_log_dir_is_the_folder_of_the_run(folder):
    """Also of the trainer, before and after the run is opened, so that two trainings never share a file."""
    logger = RuncastLogger("none")
    trainer = make_trainer(logger)
    before = trainer.log_dir
    assert runs_in(folder) == []

    trainer.fit(Tiny(), loader())

    told = only_run_in(folder)
    assert before == trainer.log_dir == logger.log_dir == str(told.path.absolute())
    assert (logger.save_dir, logger.version) == (str(folder / "runs"), told.path.name)


def test_names_of_other_loggers_are_taken(folder):
    """save_dir is the folder of the runs, version is the id; a number is version_<number>."""
    for version in ("v1", 2):
        logger = RuncastLogger("none", save_dir=folder / "runs", version=version, name="mine", project="digits")
        logger.log_metrics({"loss": 1.0}, 0)
        logger.finalize("success")

    assert [told.path.name for told in runs_in(folder)] == ["v1", "version_2"]
    assert {(told.name, told.project) for told in runs_in(folder)} == {("mine", "digits")}


def test_a_wrong_option_is_an_error_at_once():
    """It names the one that was meant."""
    with pytest.raises(runcast.OptionError, match=r"no option 'projct'. Did you mean 'project'"):
        RuncastLogger("none", projct="digits")
    with pytest.raises(runcast.OptionError, match=r"no option 'log_dir'. Did you mean 'dir'"):
        RuncastLogger("none", log_dir="logs")


def test_texts_and_the_model_are_kept(folder):
    """log_text takes a table of texts, as W&B's logger does, or one text; log_graph keeps the model's layers."""
    logger = RuncastLogger("none")

    logger.log_text("rows", columns=["said"], data=[["hello"]], step=1)
    logger.log_text("one", data="hello", step=2)
    logger.log_graph(torch.nn.Linear(4, 1))
    logger.finalize("success")

    told = only_run_in(folder)
    assert told.media == [("rows", "table", 1), ("one", "text", 2)]
    (model,) = told.of_type("artifact")
    assert (told.path / model["path"]).read_text() == "Linear(in_features=4, out_features=1, bias=True)"


SPAWN = """
import multiprocessing, os, sys
from lightning.pytorch.strategies import DDPStrategy
from runcast.adapters.lightning import RuncastLogger
from runcast.run.init import init
from tests.adapters.tiny_lightning import Tiny, loader, make_trainer

if __name__ == "__main__":
    multiprocessing.set_forkserver_preload(["lightning.pytorch"])
    for case in sys.argv[2:]:
        os.mkdir(case)
        os.chdir(case)
        logger = RuncastLogger("none") if case != "users" else RuncastLogger(run=init(report_to="none"))
        if case == "open":
            logger.log_metrics({"early": 1.0}, 0)
        strategy = DDPStrategy(start_method=sys.argv[1])
        trainer = make_trainer(logger, devices=2, strategy=strategy, enable_checkpointing=True)
        trainer.fit(Tiny(), loader(), loader())
        trainer.test(Tiny(), loader(), verbose=False)
        logger.log_metrics({"late": 1.0}, 9)
        os.chdir("..")
"""
CASES = ["fresh", "open", "users"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.matrix)])
def test_processes_that_lightning_spawns_report_to_one_run(folder, method):
    """Fit, test and what the script logs, whether the run was opened before, by the logger or by the user, or not."""
    run_well(SPAWN, folder, method, *CASES, modules=LIGHTNING)

    for case in CASES:
        told = only_run_in(folder / case)
        assert told.steps("train_loss") == [1, 3, 5], case
        assert len(told.steps("test_loss")) == 1, case
        assert told.steps("late") == [9], case
        assert told.steps("early") == ([0] if case == "open" else []), case
        assert len(list(told.path.glob("checkpoints/*.ckpt"))) == 1, case
        assert told.endings == (["finished"] * 3 if case == "fresh" else ["finished"]), case


MODULE = """
import lightning
from tests.adapters.tiny_lightning import Tiny, loader


class Data(lightning.LightningDataModule):
    def train_dataloader(self):
        return loader()


class Model(Tiny):
    def __init__(self, learning_rate: float = 0.1):
        super().__init__(learning_rate=learning_rate)
"""
CLI_SCRIPT = (
    MODULE
    + """
from lightning.pytorch.cli import LightningCLI

if __name__ == "__main__":
    LightningCLI(Model, Data, trainer_defaults={"max_epochs": 1, "enable_progress_bar": False, "log_every_n_steps": 2, "accelerator": "cpu"})
"""
)
YAML = """
trainer:
  logger:
    class_path: runcast.adapters.lightning.RuncastLogger
    init_args:
      report_to: none
      project: digits
      name: from-yaml
      tags: [a, b]
      save_dir: runs
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_trainings_of_the_command_line_each_have_a_folder(folder):
    """Two in a row, one of a YAML file, and one of the configuration that the first has saved."""
    (folder / "settings.yaml").write_text(YAML)
    logger = "--trainer.logger=runcast.adapters.lightning.RuncastLogger"
    options = ("--trainer.logger.project=typed", "--trainer.logger.report_to=none")

    run_well(CLI_SCRIPT, folder, "fit", logger, *options, modules=LIGHTNING)
    run_well(CLI_SCRIPT, folder, "fit", logger, *options, modules=LIGHTNING)
    run_well(CLI_SCRIPT, folder, "fit", "--config", "settings.yaml", modules=LIGHTNING)
    saved = runs_in(folder)[-1].path / "config.yaml"
    run_well(CLI_SCRIPT, folder, "fit", "--config", str(saved), modules=LIGHTNING)

    found = runs_in(folder)
    assert [told.project for told in found] == ["typed", "typed", "digits", "digits"]
    assert [(told.name, told.file.tags) for told in found[2:]] == [("from-yaml", ["a", "b"])] * 2
    assert all((told.path / "config.yaml").is_file() and told.endings == ["finished"] for told in found)
    assert all(told.steps("train_loss") == [1, 3, 5] for told in found)


@pytest.mark.slow
def test_a_logger_without_arguments_on_the_command_line(folder):
    """Its saved configuration can be used again, which an argument without a word for its default would prevent."""
    logger = "--trainer.logger=runcast.adapters.lightning.RuncastLogger"
    settings = {"modules": LIGHTNING, "environment": {"RUNCAST_REPORT_TO": "none"}}

    done = run_script(CLI_SCRIPT, folder, "fit", logger, **settings)
    assert (done.returncode, "serialize" in done.stderr) == (0, False), done.stderr[-2000:]
    run_well(CLI_SCRIPT, folder, "fit", "--config", str(only_run_in(folder).path / "config.yaml"), **settings)

    assert [told.file.trackers for told in runs_in(folder)] == [{}, {}]


def test_every_argument_has_a_type_and_a_help_on_the_command_line():
    """As LightningCLI shows them: `--trainer.logger.tags`, for example."""
    parser = ArgumentParser()
    names = parser.add_class_arguments(RuncastLogger, "logger")

    options = {action.dest: action for action in parser._actions if action.dest in names}

    assert {"logger.report_to", "logger.project", "logger.tags", "logger.axes", "logger.save_dir"} <= set(options)
    assert [name for name, action in options.items() if not action.help] == []
    assert options["logger.tags"].help.startswith("Words for finding the run.")
