"""The defects that were seen in the trainers' own integrations (D1 to D19) are not ours.

Elsewhere: D1, D16 and D18 in test_endings.py, D2 and D12 in test_transformers.py, D11 there as well, D14 ("all" without
a folder) in test_accelerate.py, D15 in test_lightning.py. D9 (DagsHub) and D19 (Flyte) are of trackers that are not
ours.
"""

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import runcast
from runcast import ReportCallback
from runcast.journal.state import load_state
from tests.adapters.kit import BrokenAtTheEnd, only_run_in, runs_in
from tests.adapters.tiny_transformers import make_trainer
from tests.waiting import wait_for


class Broken(runcast.Tracker):
    """Raises whatever it is asked to do."""

    name = "broken"

    def setup(self, run):
        raise AttributeError("get_run: the SDK has changed")


def test_d3_a_server_that_is_not_there_takes_nothing_from_the_training(folder, monkeypatch):
    """D3: theirs raise at the end of the training, and lose points; ours are in the journal, for `runcast sync`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("RUNCAST_FINISH_TIMEOUT_S", "0.5")

    result = make_trainer([ReportCallback("mlflow")]).train()

    told = only_run_in(folder)
    assert result.global_step == 6
    assert told.steps("train/loss") == [2, 4, 6]
    assert told.endings == ["finished"]


def losses(seed, report_to):
    """Train with a seed; return the losses, and what Python, NumPy and torch would draw next."""
    callback = ReportCallback(report_to, delivery="process" if report_to == "clearml" else "later")
    trainer = make_trainer([callback], seed=seed, logging_steps=1, max_steps=3)
    trainer.train()
    drawn = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], drawn


@pytest.mark.slow
def test_d4_a_tracker_does_not_seed_the_training(folder, monkeypatch):
    """D4: ClearML seeds everything, so that with theirs two seeds give one training."""
    monkeypatch.setenv("RUNCAST_FINISH_TIMEOUT_S", "0.1")

    assert losses(1, "clearml") == losses(1, "none")
    assert losses(1, "clearml")[0] != losses(2, "clearml")[0]


def test_d5_seeding_does_not_name_the_runs(folder):
    """D5: with theirs, all runs of MLflow that were seeded alike have one name."""
    for _ in range(3):
        make_trainer([ReportCallback("none")], seed=42, max_steps=1).train()

    assert len({told.name for told in runs_in(folder)}) == 3


def test_d6_d8_what_is_not_selected_receives_nothing_and_all_is_safe(folder):
    """D6: theirs write a Comet experiment for report_to="mlflow". D8: theirs die of an unconfigured ClearML."""
    make_trainer([ReportCallback("mlflow", delivery="later")], max_steps=1).train()
    make_trainer([ReportCallback("all", delivery="later")], max_steps=1).train()

    first, second = sorted(runs_in(folder), key=lambda told: told.file.created)
    assert list(first.file.trackers) == ["mlflow"]
    assert {"clearml", "comet_ml", "dvclive", "mlflow", "tensorboard", "wandb"} <= set(second.file.trackers)
    assert not any(choice.online for choice in second.file.trackers.values())
    assert not list(folder.glob(".cometml-runs")) + list(folder.glob("wandb")) + list(folder.glob("mlruns"))


@pytest.mark.slow
def test_d7_d10_d14_a_broken_tracker_costs_neither_the_training_nor_the_others_a_point(folder, monkeypatch):
    """D7: a changed SDK kills theirs. D10: DVCLive's step is the global step. D14: a failing finish stops the others."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(folder)]))
    callback = ReportCallback(["dvclive", "tensorboard", Broken, BrokenAtTheEnd], delivery="thread")

    result = make_trainer([callback]).train()

    told = only_run_in(folder)
    assert result.global_step == 6
    steps = [line.split("\t")[0] for line in next(told.path.rglob("train/loss.tsv")).read_text().splitlines()[1:]]
    assert steps == ["2", "4", "6"]
    assert told.endings == ["finished"]


@pytest.mark.parametrize(
    "chosen", [None, ("mlflow", "tensorboard"), "mlflow,tensorboard", "MLflow, TensorBoard", ["mlflow"] * 2]
)
def test_d13_every_spelling_of_a_choice_is_understood(folder, chosen):
    """D13: theirs reject None, tuples and comma lists, and take a name twice for two."""
    callback = ReportCallback(chosen, delivery="later")

    make_trainer([callback], max_steps=1).train()

    expected = [] if chosen is None else ["mlflow"] if isinstance(chosen, list) else ["mlflow", "tensorboard"]
    assert sorted(only_run_in(folder).file.trackers) == expected


class UntilMeasured(transformers.TrainerCallback):
    """Holds a training until the meter, which takes seconds to come up, has measured some of it."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.before = self.measured_s()

    def on_step_end(self, args, state, control, **kwargs):
        wait_for(lambda: self.measured_s() > self.before)

    def measured_s(self):
        found = [load_state(run / "trackers" / "codecarbon") for run in Path("runs").glob("*")]
        return max((state.coverage.measured_s for state in found if state and state.coverage), default=0.0)


@pytest.mark.slow
def test_d17_a_second_training_is_measured_too(folder, monkeypatch):
    """D17: theirs measure the energy of the first training only, and tell it to no other tracker."""
    monkeypatch.setenv("CODECARBON_MEASURE_POWER_SECS", "1")
    trainer = make_trainer([ReportCallback("codecarbon"), UntilMeasured()])

    trainer.train()
    first = len(only_run_in(folder).steps("codecarbon/measured_s"))
    trainer.train()

    told = only_run_in(folder)
    assert 0 < first < len(told.steps("codecarbon/measured_s"))
    assert told.endings == ["finished"] * 2
