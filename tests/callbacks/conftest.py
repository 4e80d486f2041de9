"""Trainings for callbacks: events with values of one's own, without torch, and a Trainer that reports."""

from types import SimpleNamespace

import pytest

from runcast.core.events import TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler


class Stage:
    """Calls the events of a training on some callbacks, with metrics of one's own."""

    def __init__(self, *callbacks, context=None, **settings):
        self.args = SimpleNamespace(
            **{
                "eval_strategy": "epoch",
                "output_dir": "out",
                "metric_for_best_model": None,
                "greater_is_better": None,
                "run_name": None,
                **settings,
            }
        )
        self.state = TrainerState(max_steps=100)
        self.control = TrainerControl()
        self.handler = CallbackHandler(callbacks, **context or {})

    def event(self, name, **about):
        """Call an event."""
        self.control = self.handler.call(name, self.args, self.state, self.control, **about)

    def evaluate(self, **metrics):
        """Make a step, and evaluate."""
        self.state.global_step += 1
        self.event("on_evaluate", metrics=metrics)

    def log(self, **logs):
        """Make a step, and log."""
        self.state.global_step += 1
        self.event("on_log", logs=logs)
        return logs


@pytest.fixture
def stage():
    """Return the class."""
    return Stage


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Return a function that makes a Trainer that reports to the journal alone."""
    import torch
    from rich.console import Console
    from torch import nn

    from runcast.callbacks.progress import ProgressCallback
    from runcast.callbacks.reporting import ReportCallback
    from runcast.trainer.settings.arguments import TrainingArguments
    from runcast.trainer.trainer import Trainer

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCAST_QUIET", "1")

    def make(report=None, **settings):
        data = [(torch.randn(4), torch.tensor(index % 2)) for index in range(32)]
        settings = {
            "report_to": "none",
            "use_cpu": True,
            "output_dir": str(tmp_path / "out"),
            "save_strategy": "no",
            "max_steps": 4,
            "logging_steps": 2,
        } | settings
        report = report or ReportCallback("none", dir=str(tmp_path / "runs"))
        trainer = Trainer(
            nn.Linear(4, 2),
            TrainingArguments(**settings),
            train_dataset=data,
            eval_dataset=data,
            callbacks=[report, ProgressCallback(Console(quiet=True))],
        )
        return trainer, report

    return make
