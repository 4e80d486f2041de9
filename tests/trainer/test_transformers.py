"""Callbacks of transformers run in our Trainer, ours in theirs, and both see the same training."""

import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.files import CSVLoggerCallback, JSONLLoggerCallback
from runcast.callbacks.metric import MetricCallback
from runcast.callbacks.progress import PrinterCallback, ProgressCallback
from runcast.callbacks.rates import LearningRateCallback, ReduceLROnPlateauCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.callbacks.stopping import EarlyStoppingCallback, TerminateOnNaNCallback
from runcast.core.events import EVENTS, TrainerCallback, TrainerState
from runcast.core.functions import LambdaCallback
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours to mend


class Examples(torch.utils.data.Dataset):
    """Random vectors with a label."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(count, 4, generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "labels": (self.x[index].sum() > 0).long()}


class Model(nn.Module):
    """Computes its own loss, as the models of transformers do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 2)

    def forward(self, x, labels=None):
        logits = self.linear(x)
        return {"loss": None if labels is None else nn.functional.cross_entropy(logits, labels), "logits": logits}


SETTINGS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "logging_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 3,
    "save_strategy": "epoch",
    "learning_rate": 0.01,
    "use_cpu": True,
}


def theirs(folder, callbacks, resume=None, **settings):
    """Train with transformers; return the trainer."""
    args = transformers.TrainingArguments(
        output_dir=str(folder), report_to="none", disable_tqdm=True, dataloader_pin_memory=False, **SETTINGS | settings
    )
    trainer = transformers.Trainer(
        Model(), args, train_dataset=Examples(20), eval_dataset=Examples(8), callbacks=callbacks
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume and str(resume))
    return trainer


def ours(folder, callbacks, resume=None, **settings):
    """Train the same with ours; return the trainer."""
    args = TrainingArguments(output_dir=str(folder), report_to="none", **SETTINGS | settings)
    quiet = (
        []
        if any(isinstance(callback, ProgressCallback) for callback in callbacks)
        else [ProgressCallback(Console(quiet=True))]
    )
    trainer = Trainer(
        Model(), args, train_dataset=Examples(20), eval_dataset=Examples(8), callbacks=[*callbacks, *quiet]
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def tracer(base):
    """Return a callback of either kind that notes every event with the step, the switches, and what it was told."""
    trace = []

    def hook(event):
        def note(self, args, state, control, **kwargs):
            known = sorted(
                key
                for key in kwargs
                if kwargs[key] is not None and key not in ("processing_class", "lr_scheduler", "optimizer")
            )
            trace.append((event, state.global_step, round(state.epoch or 0, 3), tuple(vars(control).values()), known))

        return note

    kind = type("Tracer", (base,), {event: hook(event) for event in EVENTS[:16]})
    return kind(), trace


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"eval_strategy": "epoch", "logging_strategy": "epoch", "save_strategy": "steps", "save_steps": 4},
        {"logging_first_step": True, "eval_on_start": True, "eval_steps": 2, "eval_delay": 3, "save_strategy": "no"},
        {"max_steps": 5, "gradient_accumulation_steps": 3, "logging_steps": 1, "eval_steps": 0.4},
        {"num_train_epochs": 1.5, "gradient_accumulation_steps": 1, "save_strategy": "no", "eval_strategy": "no"},
        {"save_strategy": "best", "metric_for_best_model": "loss", "load_best_model_at_end": True},
        {"dataloader_drop_last": True, "per_device_train_batch_size": 8, "logging_steps": 0.5},
    ],
    ids=lambda settings: " ".join(settings) or "by steps and epochs",
)
def test_both_trainers_announce_the_same_events(tmp_path, settings):
    """The same order, steps, epochs and switches, however one accumulates, logs, evaluates, saves and stops."""
    their_callback, their_trace = tracer(transformers.TrainerCallback)
    our_callback, our_trace = tracer(TrainerCallback)

    theirs(tmp_path / "theirs", [their_callback], **settings)
    ours(tmp_path / "ours", [our_callback], **settings)

    assert [entry[:3] for entry in our_trace] == [entry[:3] for entry in their_trace]
    assert [entry[3] for entry in our_trace] == [entry[3] for entry in their_trace]


def resumed(tmp_path, step):
    """Train with both, and resume both from their own checkpoint of a step; return both traces of the resumed ones."""
    settings = {"save_strategy": "steps", "save_steps": 1}
    traces = []
    for base, train in ((transformers.TrainerCallback, theirs), (TrainerCallback, ours)):
        folder = tmp_path / train.__name__
        train(folder, [], **settings)
        callback, trace = tracer(base)
        traces.append(trace)
        train(folder, [callback], resume=folder / f"checkpoint-{step}", **settings)
    return traces


def test_both_announce_the_same_events_when_they_resume(tmp_path):
    """From the same step inside an epoch, to the same end."""
    in_theirs, in_ours = resumed(tmp_path, 1)

    assert [entry[:4] for entry in in_ours] == [entry[:4] for entry in in_theirs]


def test_an_epoch_that_was_interrupted_at_its_last_step_is_ended_in_ours(tmp_path):
    """Its checkpoint was written before its end was announced. Transformers never announces it, nor evaluates there."""
    in_theirs, in_ours = ([entry[0] for entry in trace] for trace in resumed(tmp_path, 3))

    assert in_theirs[:3] == ["on_init_end", "on_train_begin", "on_epoch_begin"]
    assert in_ours == [*in_theirs[:3], "on_epoch_end", *in_theirs[2:]]


def test_both_announce_the_same_events_when_a_callback_stops(tmp_path):
    """In the middle of an epoch, and the training in the middle of another."""

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = state.global_step == 2
            control.should_training_stop = state.global_step == 4
            return control

    traces = []
    for train in (theirs, ours):
        callback, trace = tracer(transformers.TrainerCallback)
        traces.append(trace)
        train(tmp_path / train.__name__, [callback, Stop()], num_train_epochs=4)

    assert [entry[:4] for entry in traces[1]] == [entry[:4] for entry in traces[0]]


def test_both_announce_the_same_events_of_an_evaluation_and_a_prediction(tmp_path):
    """As many prediction steps, and the metrics under the same names."""
    traces, told = [], []
    for train in (theirs, ours):
        callback, trace = tracer(transformers.TrainerCallback)
        trainer = train(tmp_path / train.__name__, [callback], save_strategy="no", per_device_eval_batch_size=3)
        trace.clear()
        told.append([trainer.evaluate(), trainer.predict(Examples(7), metric_key_prefix="test").metrics])
        traces.append(trace)

    assert [entry[:2] for entry in traces[1]] == [entry[:2] for entry in traces[0]]
    assert [entry[0] for entry in traces[1]].count("on_prediction_step") == 6
    assert [set(metrics) for metrics in told[0]] == [
        {*told[1][0], "epoch"} | set(told[0][0]),
        set(told[1][1]) | set(told[0][1]),
    ]


def test_a_callback_of_theirs_is_told_the_same_by_both(tmp_path):
    """The very same class, in both trainers: the same events, and at least the same keyword arguments."""
    first, in_theirs = tracer(transformers.TrainerCallback)
    second, in_ours = tracer(transformers.TrainerCallback)

    theirs(tmp_path / "theirs", [first])
    ours(tmp_path / "ours", [second])

    assert [entry[:4] for entry in in_ours] == [entry[:4] for entry in in_theirs]
    for mine, other in zip(in_ours, in_theirs, strict=True):
        assert set(other[4]) <= set(mine[4]) | {"train_dataloader"}, mine


def test_our_callbacks_run_in_their_trainer(tmp_path):
    """All of ours at once, unchanged; what they write is there."""
    logs = []
    callbacks = [
        EarlyStoppingCallback(5),
        TerminateOnNaNCallback(),
        ReduceLROnPlateauCallback(patience=3),
        LearningRateCallback(),
        MetricCallback(
            lambda p, t: sum(int(a.argmax() == b) for a, b in zip(p, t, strict=True)) / len(t),
            Examples(8),
            name="accuracy",
        ),
        ModelCheckpointCallback(every_steps=5),
        CSVLoggerCallback(tmp_path / "log.csv"),
        JSONLLoggerCallback(tmp_path / "log.jsonl"),
        LambdaCallback(on_log=lambda args, state, control, logs, **kwargs: logs.update(seen=1)),
        LambdaCallback(on_log=lambda args, state, control, logs, **kwargs: logs_of(logs, logs)),
        ProgressCallback(Console(quiet=True)),
        PrinterCallback(),
    ]

    def logs_of(values, _):
        logs.append(dict(values))

    trainer = theirs(tmp_path / "out", callbacks)

    assert trainer.state.global_step == 6
    assert any("eval_accuracy" in entry for entry in logs)
    assert any("learning_rate/0" in entry for entry in logs)
    assert (tmp_path / "out" / "checkpoint-5").is_dir()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(logs)
    assert (tmp_path / "log.csv").read_text().startswith("step,epoch,loss")


def test_callbacks_of_transformers_run_in_our_trainer(tmp_path, capsys):
    """Theirs instead of ours: flow, early stopping, printer, progress bar, notebook; each does what it does there."""
    settings = {
        "load_best_model_at_end": True,
        "save_strategy": "steps",
        "save_steps": 3,
        "num_train_epochs": 20,
        "learning_rate": 1e-9,
    }
    stopping = transformers.EarlyStoppingCallback(early_stopping_patience=2, early_stopping_threshold=0.5)
    callbacks = [
        transformers.trainer_callback.DefaultFlowCallback(),
        stopping,
        transformers.PrinterCallback(),
        transformers.ProgressCallback(),
    ]

    trainer = ours(tmp_path, callbacks, **settings)

    assert trainer.state.global_step == 9
    shown = capsys.readouterr()
    assert "'loss'" in shown.out
    assert "9/60" in shown.err
    assert trainer.callback_handler.states()["EarlyStoppingCallback"]["attributes"] == {
        "early_stopping_patience_counter": 2
    }


def test_trackers_callbacks_of_transformers_run_in_our_trainer(tmp_path, monkeypatch):
    """Their TensorBoardCallback writes the losses, the evaluations and the settings of our training."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers.integrations import TensorBoardCallback

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))

    ours(tmp_path / "out", [TensorBoardCallback()], save_strategy="no")

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4, 6]
    assert [event.step for event in events.Scalars("eval/loss")] == [3, 6]
    assert b'"learning_rate": 0.01' in events.Tensors("args/text_summary")[0].tensor_proto.string_val[0]


def test_our_arguments_and_state_have_all_that_their_callbacks_ask_for():
    """Every attribute that the callbacks of transformers read; what only a hyper-parameter search reads is left out."""
    folder = Path(transformers.__file__).parent
    files = ("integrations/integration_utils.py", "trainer_callback.py", "utils/notebook.py")
    code = "\n".join((folder / file).read_text(encoding="utf-8") for file in files)
    asked = {name: set(re.findall(rf"\b{name}\.([a-z_]+)", code)) for name in ("args", "state")}

    assert {name for name in asked["args"] if not hasattr(TrainingArguments(), name)} == {"parallel_mode", "_n_gpu"}
    assert {name for name in asked["state"] if not hasattr(TrainerState(), name)} == set()


def test_both_trainers_train_alike(tmp_path):
    """The same data in the same order gives the same losses.

    The last batch of an epoch is smaller, and counts by its size in ours.
    """
    settings = {"gradient_accumulation_steps": 1, "max_grad_norm": 1.0, "weight_decay": 0.1, "warmup_steps": 2}

    their_losses = [
        entry["loss"]
        for entry in sequential(transformers.Trainer, theirs)(tmp_path / "theirs", [], **settings).state.log_history
        if "loss" in entry
    ]
    our_losses = [
        entry["loss"]
        for entry in sequential(Trainer, ours)(tmp_path / "ours", [], **settings).state.log_history
        if "loss" in entry
    ]

    assert our_losses == pytest.approx(their_losses, rel=1e-5)


def sequential(kind, train):
    """Make a trainer go through the data in its order."""

    def run(folder, callbacks, **settings):
        if kind is Trainer:
            loader = torch.utils.data.DataLoader(Examples(20), batch_size=4)
            args = TrainingArguments(output_dir=str(folder), report_to="none", **SETTINGS | settings)
            trainer = Trainer(
                Model(),
                args,
                train_dataset=loader,
                eval_dataset=Examples(8),
                callbacks=[ProgressCallback(Console(quiet=True))],
            )
            trainer.train()
            return trainer
        return train(folder, callbacks, train_sampling_strategy="sequential", **settings)

    return run


def test_a_training_of_transformers_is_reported_and_finished(tmp_path, monkeypatch):
    """ReportCallback in their Trainer: params, losses under the names of the field, summary, status.

    A later evaluation goes on with the same run.
    """
    monkeypatch.chdir(tmp_path)
    report = ReportCallback("none", project="test", dir=str(tmp_path / "runs"))

    trainer = theirs(tmp_path / "out", [report])
    folder = report.run.dir
    status = report.run.status
    trainer.evaluate()
    report.run.finish()

    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    params = {key: value for record in records if record["type"] == "params" for key, value in record["values"].items()}
    names = {key for record in records if record["type"] == "metrics" for key in record["values"]}
    summary = {key for record in records if record["type"] == "summary" for key in record["values"]}
    assert status == "finished"
    assert params["learning_rate"] == 0.01
    assert params["model/num_parameters"] == 10
    assert {"train/loss", "train/grad_norm", "train/learning_rate", "eval/loss"} <= names
    assert "train/mean_loss" in summary
    assert [record["type"] for record in records].count("start") == 2
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_resumed_training_of_transformers_goes_on_with_its_run(tmp_path, monkeypatch):
    """Their checkpoint, too, says which run it is of, also to a trainer that is given nothing but the checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    first, second = (ReportCallback("none", project="test", dir=str(tmp_path / "runs")) for _ in range(2))

    theirs(tmp_path / "out", [first], max_steps=3, save_strategy="steps", save_steps=3)
    trainer = theirs(tmp_path / "out", [second], max_steps=3, resume=str(tmp_path / "out" / "checkpoint-3"))

    file = json.loads((first.run.dir / "run.json").read_text())
    assert trainer.state.global_step == 3
    assert second.run.id == first.run.id
    assert [session["session"] for session in file["sessions"]] == [2]
