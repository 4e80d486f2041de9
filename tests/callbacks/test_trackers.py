"""The callbacks of one tracker each: several of them in one trainer are one run."""

import inspect
import json
import re

import pytest
from rich.console import Console

import runcast
from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.trackers import (
    AimCallback,
    AzureMLCallback,
    ClearMLCallback,
    CodeCarbonCallback,
    CometCallback,
    DagsHubCallback,
    DVCLiveCallback,
    FlyteCallback,
    MLflowCallback,
    SwanLabCallback,
    SystemCallback,
    TensorBoardCallback,
    TrackerCallback,
    TrackioCallback,
    WandbCallback,
)
from runcast.core.events import TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.integrations.table import TABLE
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

FORMS = (
    WandbCallback,
    MLflowCallback,
    CometCallback,
    ClearMLCallback,
    DVCLiveCallback,
    TensorBoardCallback,
    SwanLabCallback,
    TrackioCallback,
    DagsHubCallback,
    AzureMLCallback,
    FlyteCallback,
    AimCallback,
    CodeCarbonCallback,
    SystemCallback,
)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Keep runs in a folder of the test, delivered only where a test says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    monkeypatch.setenv("RUNCAST_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("RUNCAST_DELIVERY", "later")


def settings(tmp_path, **given):
    """Return arguments for a short training."""
    chosen = {"output_dir": str(tmp_path / "out"), "save_strategy": "no", "max_steps": 4, "logging_steps": 2}
    return {**chosen, "report_to": "none", "use_cpu": True, "run_name": "short", **given}


def ours(tmp_path, callbacks, late=(), **given):
    """Train with our Trainer."""
    import torch

    data = [(torch.ones(4) * index, torch.tensor(index % 2)) for index in range(16)]
    args = TrainingArguments(**settings(tmp_path, **given))
    trainer = Trainer(
        torch.nn.Linear(4, 2), args, train_dataset=data, callbacks=[*callbacks, ProgressCallback(Console(quiet=True))]
    )
    for callback in late:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def theirs(tmp_path, callbacks, late=(), **given):
    """Train with transformers."""
    import torch
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)

        def forward(self, x, labels=None):
            logits = self.linear(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    data = [{"x": torch.ones(4) * index, "labels": index % 2} for index in range(16)]
    args = transformers.TrainingArguments(**settings(tmp_path, **given), disable_tqdm=True, dataloader_pin_memory=False)
    trainer = transformers.Trainer(Model(), args, train_dataset=data, callbacks=list(callbacks))
    trainer.remove_callback(transformers.PrinterCallback)
    for callback in late:
        trainer.add_callback(callback)
    trainer.train()
    return trainer


def runs(tmp_path):
    """Return what run.json says and what the journal holds, for each run."""
    folders = sorted((tmp_path / "runs").iterdir())
    return [
        (
            json.loads((folder / "run.json").read_text()),
            [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()],
        )
        for folder in folders
    ]


def losses(records):
    """List the steps at which the loss of the training was logged."""
    return [record["step"] for record in records if record["type"] == "metrics" and "train/loss" in record["values"]]


def test_each_tracker_has_its_callback():
    """The table's trackers, in the table's order, and no other; each class says how it is used."""
    assert [form.tracker for form in FORMS] == list(TABLE)
    assert all(getattr(runcast, form.__name__) is form for form in FORMS)
    for form in FORMS:
        assert re.search(rf"`{form.__name__}\(.+=.+\)`", inspect.getdoc(form).split("\n")[0])


@pytest.mark.parametrize("train", [ours, theirs])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_side_by_side_they_are_one_run(tmp_path, train, late):
    """Whether given to the trainer at once or added later: one id, every tracker with its options, each point once."""
    callbacks = [DVCLiveCallback(report="md"), TensorBoardCallback(log_dir="boards"), MLflowCallback()]

    train(tmp_path, [] if late else callbacks, callbacks if late else [])

    ((file, records),) = runs(tmp_path)
    assert list(file["trackers"]) == ["mlflow", "dvclive", "tensorboard"]
    assert file["trackers"]["dvclive"]["options"] == {"report": "md"}
    assert file["trackers"]["tensorboard"]["options"] == {"log_dir": "boards"}
    assert (file["name"], file["session"]) == ("short", 1)
    assert losses(records) == [2, 4]
    assert [record["status"] for record in records if record["type"] == "finish"] == ["finished"]
    assert len({id(callback.run) for callback in callbacks}) == 1


def test_both_trackers_really_get_it(tmp_path, monkeypatch):
    """What one callback reports is in every tracker, as its own reader sees it."""
    monkeypatch.setenv("RUNCAST_DELIVERY", "thread")

    ours(tmp_path, [TensorBoardCallback(), DVCLiveCallback()])

    (folder,) = (tmp_path / "runs").iterdir()
    (table,) = (folder / "trackers" / "dvclive").rglob("loss.tsv")
    assert [line.split("\t")[-2] for line in table.read_text().splitlines()[1:]] == ["2", "4"]
    assert list((folder / "trackers" / "tensorboard").rglob("events.out.tfevents.*"))


def test_a_run_may_be_opened_before_the_training(tmp_path):
    """`setup` opens it with every callback that the trainer has; a second call, and the training, go on with it."""
    import torch

    first, second = TensorBoardCallback(), DVCLiveCallback()
    data = [(torch.ones(4), torch.tensor(1))] * 8
    args = TrainingArguments(**settings(tmp_path))
    quiet = ProgressCallback(Console(quiet=True))
    trainer = Trainer(torch.nn.Linear(4, 2), args, train_dataset=data, callbacks=[first, second, quiet])

    first.setup(args, trainer.state, trainer.model)
    opened = first.run
    second.setup(args, trainer.state, trainer.model)
    first.setup(args, trainer.state, trainer.model)
    trainer.train()

    ((file, records),) = runs(tmp_path)
    assert second.run is first.run is opened
    assert sorted(file["trackers"]) == ["dvclive", "tensorboard"]
    assert [record["type"] for record in records].count("start") == 1
    assert any(record["values"].get("model/num_parameters") == 10 for record in records if record["type"] == "params")


def test_who_joins_an_open_run_is_given_it_whole(tmp_path):
    """Two callbacks without a trainer, `setup` one after the other: the same run, in its second session, with both."""
    import torch

    args, state, model = TrainingArguments(**settings(tmp_path)), TrainerState(), torch.nn.Linear(1, 1)
    first, second = TensorBoardCallback(), DVCLiveCallback()

    first.setup(args, state, model)
    early = first.run.id
    second.setup(args, state, model)
    second.run.finish()

    ((file, _),) = runs(tmp_path)
    assert (file["id"], file["session"], first.run is second.run) == (early, 2, True)
    assert sorted(file["trackers"]) == ["dvclive", "tensorboard"]


def test_the_next_trainer_with_the_same_arguments_is_another_run(tmp_path):
    """Folds of a cross-validation share their arguments, not their run."""
    import torch

    data, args = [(torch.ones(4), torch.tensor(1))] * 8, TrainingArguments(**settings(tmp_path))
    for _ in range(2):
        quiet = ProgressCallback(Console(quiet=True))
        Trainer(
            torch.nn.Linear(4, 2), args, train_dataset=data, callbacks=[TensorBoardCallback(), DVCLiveCallback(), quiet]
        ).train()

    assert [sorted(file["trackers"]) for file, _ in runs(tmp_path)] == [["dvclive", "tensorboard"]] * 2


def test_a_failed_training_is_one_failed_run(tmp_path):
    """The exception that ends it is noted once, in all trackers."""

    def fail(*args, **kwargs):
        raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        ours(tmp_path, [TensorBoardCallback(), DVCLiveCallback(), ("on_step_end", fail)])

    ((_, records),) = runs(tmp_path)
    assert [record["status"] for record in records if record["type"] == "finish"] == ["failed"]


def test_a_resumed_training_goes_on_with_the_run(tmp_path):
    """In every tracker, also one that was not there before."""
    ours(tmp_path, [TensorBoardCallback()], save_strategy="steps", save_steps=2)
    ours(tmp_path, [TensorBoardCallback(), DVCLiveCallback()], max_steps=6, resume_from_checkpoint="last")

    ((file, records),) = runs(tmp_path)
    assert (file["session"], sorted(file["trackers"])) == (2, ["dvclive", "tensorboard"])
    assert losses(records) == [2, 4, 6]


def test_an_open_run_may_be_given(tmp_path):
    """It is reported to, and stays open."""
    run = runcast.init(report_to="tensorboard", dir=tmp_path / "runs")

    ours(tmp_path, [TensorBoardCallback(run=run)])

    assert run.status is None
    run.finish()
    ((_, records),) = runs(tmp_path)
    assert losses(records) == [2, 4]


def test_other_ranks_open_nothing(tmp_path, monkeypatch):
    """One process of a job reports."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    callback = TensorBoardCallback()
    handler = CallbackHandler([callback])

    for event in ("on_init_end", "on_train_begin", "on_epoch_begin", "on_train_end", "teardown"):
        handler.call(event, TrainingArguments(**settings(tmp_path)), TrainerState(), TrainerControl())

    assert not (tmp_path / "runs").exists()


def test_a_tracker_that_cannot_be_used_is_an_error_at_once():
    """A callback is a wish by name."""

    class Unknown(TrackerCallback):
        tracker = "wandbb"

    with pytest.raises(runcast.UnknownTrackerError, match="wandb"):
        Unknown()
