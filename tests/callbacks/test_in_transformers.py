"""Each callback of ours in `transformers.Trainer`, unchanged: a tiny model is really trained, and each does its work."""

import csv
import json
import os
import threading
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

import runcast
from tests.callbacks.hub_standin import Hub
from tests.callbacks.test_notify import Hook

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours to mend


class Model(nn.Module):
    """Computes its own loss, as the models of transformers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 2)

    def forward(self, x, labels=None):
        logits = self.linear(x)
        return {"loss": None if labels is None else nn.functional.cross_entropy(logits, labels), "logits": logits}


X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
DATA = [{"x": x, "labels": int(x.sum() > 0)} for x in X]


@pytest.fixture(autouse=True)
def quiet(monkeypatch, tmp_path):
    """Keep everything in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCAST_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("RUNCAST_DELIVERY", "later")


@pytest.fixture
def train(tmp_path):
    """Return a function that trains for six steps in two epochs, evaluating at each epoch, and returns the trainer."""

    def train(*callbacks, resume=None, **settings):
        chosen = {
            "output_dir": str(tmp_path / "out"),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 4,
            "logging_steps": 2,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "learning_rate": 0.01,
            **settings,
        }
        args = transformers.TrainingArguments(
            **chosen, use_cpu=True, report_to="none", disable_tqdm=True, dataloader_pin_memory=False
        )
        trainer = transformers.Trainer(
            Model(), args, train_dataset=DATA, eval_dataset=DATA[:4], callbacks=list(callbacks)
        )
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return train


@pytest.fixture
def served():
    """Serve a server's class on loopback until the test is over: `served(Hub)`."""
    running = []

    def serve(kind):
        server = kind()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return server

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def records(tmp_path):
    """Read the journal of the one run."""
    (folder,) = (tmp_path / "runs").iterdir()
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def logged(tmp_path):
    """Name the metrics of the one run."""
    return {key for record in records(tmp_path) if record["type"] == "metrics" for key in record["values"]}


def test_every_callback_is_tried_here():
    """None is left out."""
    text = Path(__file__).read_text()
    names = {name for name in runcast.__all__ if name.endswith("Callback")} - {"TrainerCallback"}

    assert {name for name in names if f"runcast.{name}" not in text} == set()


def test_default_flow(train):
    """It says the same as theirs, beside theirs."""
    assert train(runcast.DefaultFlowCallback()).state.global_step == 6


def test_profiler(train, tmp_path):
    """A trace of the steps, in the folder that one names."""
    callback = runcast.ProfilerCallback(1, 1, output_dir=tmp_path / "traces", record_shapes=True)

    train(callback)

    assert [path.parent for path in callback.traces] == [tmp_path / "traces"]


def test_progress(train, capsys):
    """Lines of the evaluations, as in ours."""
    train(runcast.ProgressCallback(Console(stderr=True, width=200)))

    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("epoch 1.00  step 3  eval_loss") for line in lines)
    assert any(line.startswith("step 6/6 (100 %)") for line in lines)


def test_printer(train, capsys):
    """A line for each log."""
    train(runcast.PrinterCallback())

    assert capsys.readouterr().out.count("'loss'") == 3


def test_early_stopping_stops_and_restores(train):
    """At the second evaluation, which cannot improve by so much; the weights are those of the first."""
    seen = []
    keep = runcast.LambdaCallback(on_evaluate=lambda *_, model, **__: seen.append(model.linear.weight.detach().clone()))
    stopping = runcast.EarlyStoppingCallback(1, 0.9, restore_best=True)

    trainer = train(stopping, keep, num_train_epochs=9)

    assert trainer.state.global_step == 6
    assert "eval_loss has not improved" in trainer.state.log_history[-1]["stopped_early"]
    assert torch.equal(trainer.model.linear.weight, seen[0])


def test_early_stopping_goes_on_waiting_after_a_resume(train, tmp_path):
    """Its state is in the checkpoint, though transformers knows only callbacks of its own kind."""
    train(runcast.EarlyStoppingCallback(3, 9.0), save_strategy="epoch")
    again = runcast.EarlyStoppingCallback(3, 9.0)

    trainer = train(again, resume=str(tmp_path / "out" / "checkpoint-6"), num_train_epochs=9)

    assert trainer.state.global_step == 12  # evaluations at 3 (the best), 6, 9, 12
    assert "in 3 evaluations" in again.reason


def test_terminate_on_nan(train):
    """The first log with such a loss is the last one."""

    def spoil(args, state, control, model=None, **kwargs):
        with torch.no_grad():
            model.linear.weight.fill_(float("nan"))

    assert (
        train(
            runcast.TerminateOnNaNCallback(), runcast.LambdaCallback(on_train_begin=spoil), logging_nan_inf_filter=False
        ).state.global_step
        == 2
    )


def test_reduce_lr_on_plateau(train):
    """Also with their schedule: the rate of the last step is a tenth of what it would be."""
    plain = train(num_train_epochs=3, lr_scheduler_type="constant")
    callback = runcast.ReduceLROnPlateauCallback(0.1, 1, threshold=9.0)

    reduced = train(callback, num_train_epochs=3, lr_scheduler_type="constant")

    rates = [
        [entry["learning_rate"] for entry in t.state.log_history if "learning_rate" in entry] for t in (plain, reduced)
    ]
    assert rates[0] == [0.01] * 4
    assert rates[1] == pytest.approx([0.01, 0.01, 0.01, 0.001])


def test_learning_rate(train):
    """The rate of each group joins the log."""
    seen = []

    train(runcast.LearningRateCallback(), runcast.LambdaCallback(on_log=lambda *_, logs, **__: seen.append(set(logs))))

    assert {"learning_rate/0", "learning_rate/1"} <= seen[0]


def test_model_checkpoint(train, tmp_path):
    """By steps, and the best by the evaluation, with links."""
    train(runcast.ModelCheckpointCallback(every_steps=4, top_k=1), num_train_epochs=3)

    names = sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*"))
    assert names == ["checkpoint-4", "checkpoint-8", "checkpoint-9"]
    assert os.readlink(tmp_path / "out" / "best") == os.readlink(tmp_path / "out" / "last") == "checkpoint-9"


def test_csv_and_json_lines(train, tmp_path):
    """Every log is a row: three of the training, two evaluations, the end."""
    train(runcast.CSVLoggerCallback(tmp_path / "log.csv"), runcast.JSONLLoggerCallback(tmp_path / "log.jsonl"))

    with (tmp_path / "log.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "3", "4", "6", "6", "6"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize("at", ["evaluate", "epoch"])
def test_metric(train, at):
    """In their history, and good for their metric_for_best_model."""

    def accuracy(predictions, labels):
        return sum(int(p.argmax() == t) for p, t in zip(predictions, labels, strict=True)) / len(labels)

    settings = {"metric_for_best_model": "accuracy", "greater_is_better": True} if at == "evaluate" else {}
    trainer = train(runcast.MetricCallback(accuracy, DATA, at=at), **settings)

    found = [(entry["step"], entry["eval_accuracy"]) for entry in trainer.state.log_history if "eval_accuracy" in entry]
    assert [step for step, _ in found] == [3, 6]
    assert all(0 <= value <= 1 for _, value in found)
    if at == "evaluate":
        assert trainer.state.best_metric == max(value for _, value in found)


def test_watch(train, tmp_path):
    """It logs to the run that it is given; without one, into the log."""
    report = runcast.ReportCallback("none")
    seen = []
    train(
        report,
        runcast.WatchCallback(every_steps=3, report=report),
        runcast.WatchCallback(every_steps=2),
        runcast.LambdaCallback(on_log=lambda *_, logs, **__: seen.append(logs.get("gradients_norm"))),
    )

    assert {"gradients_norm", "gradients_norm/linear.weight"} <= logged(tmp_path)
    assert {(record["step"], record["key"]) for record in records(tmp_path) if record["type"] == "media"} == {
        (step, f"gradients/linear.{name}") for step in (3, 6) for name in ("weight", "bias")
    }
    assert sum(value is not None for value in seen) == 3


def test_lambda(train):
    """A function for an event."""
    steps = []

    train(runcast.LambdaCallback(on_step_end=lambda args, state, control, **_: steps.append(state.global_step)))

    assert steps == [1, 2, 3, 4, 5, 6]


def test_notify(train, served):
    """It tells that it is over."""
    hook = served(Hook)

    train(runcast.NotifyCallback(hook.url, name="tiny"))

    assert hook.arrived.wait(120)
    assert hook.told[0]["text"] == "tiny: finished at step 6 of 6"


def test_push_to_hub(train, served, monkeypatch):
    """At each epoch and at the end, and `train` returns when it is there."""
    hub = served(Hub)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")

    train(runcast.PushToHubCallback(hub_model_id="tiny", endpoint=hub.url))

    assert hub.commits["someone/tiny"][-1][0] == "Step 6"
    assert sorted(hub.commits["someone/tiny"][-1][1]) == ["README.md", "model.safetensors"]


@pytest.mark.parametrize(
    "callback",
    [
        lambda: runcast.ReportCallback(["tensorboard"]),
        runcast.WandbCallback,
        runcast.MLflowCallback,
        runcast.CometCallback,
        runcast.ClearMLCallback,
        runcast.DVCLiveCallback,
        runcast.CodeCarbonCallback,
        runcast.SystemCallback,
        runcast.TensorBoardCallback,
        pytest.param(runcast.SwanLabCallback, marks=pytest.mark.trackers),
        pytest.param(runcast.TrackioCallback, marks=pytest.mark.trackers),
        pytest.param(runcast.AimCallback, marks=pytest.mark.trackers),
    ],
)
def test_report(train, tmp_path, callback):
    """One finished run with params, losses, evaluations and a summary, for each tracker."""
    train(callback())

    assert {"train/loss", "eval/loss"} <= logged(tmp_path)
    kinds = [record["type"] for record in records(tmp_path)]
    assert {"start", "params", "metrics", "summary", "finish"} <= set(kinds)
    assert records(tmp_path)[-1]["status"] == "finished"


@pytest.mark.parametrize("callback", [runcast.DagsHubCallback, runcast.AzureMLCallback, runcast.FlyteCallback])
def test_a_service_without_a_local_mode_has_to_be_configured(callback):
    """It says so before the training begins, with what to do."""
    with pytest.raises(runcast.TrackerUnavailableError, match=r"azure_ml|DAGSHUB_|flyte"):
        callback()


def test_a_resumed_training_goes_on_with_its_run(train, tmp_path):
    """The run's id is in their checkpoint; a tracker that is new gets the run too."""
    train(runcast.TensorBoardCallback(), save_strategy="epoch")

    train(
        runcast.DVCLiveCallback(),
        runcast.TensorBoardCallback(),
        resume=str(tmp_path / "out" / "checkpoint-3"),
        num_train_epochs=3,
    )

    assert [record["type"] for record in records(tmp_path)].count("start") == 2
    steps = [r["step"] for r in records(tmp_path) if r["type"] == "metrics" and "train/loss" in r["values"]]
    assert steps == [2, 4, 6, 4, 6, 8]
