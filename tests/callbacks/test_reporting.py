"""A training is one run from its first event to its end, with the status that is true."""

import json

import pytest

from runcast.callbacks.reporting import ReportCallback
from runcast.callbacks.reporting.values import metric_name
from runcast.run.init import init


def journal(run):
    """Read the records of a run."""
    return [json.loads(line) for line in (run.dir / "journal.jsonl").read_text().splitlines()]


def endings(run):
    """List the statuses with which the sessions of a run ended."""
    return [record["status"] for record in journal(run) if record["type"] == "finish"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("loss", "train/loss"),
        ("epoch", "train/epoch"),
        ("eval_loss", "eval/loss"),
        ("eval_easy_loss", "eval/easy_loss"),
        ("test_f1", "test/f1"),
        ("evaluation", "train/evaluation"),
        ("my/own", "my/own"),
    ],
)
def test_metrics_have_the_names_of_the_field(key, name):
    """eval_ and test_ become folders, the rest is train/, what has a slash stays."""
    assert metric_name(key) == name


def test_a_training_is_one_finished_run_with_params_metrics_and_summary(make):
    """At the steps of the optimizer."""
    trainer, report = make(eval_strategy="steps")
    trainer.train()

    records = journal(report.run)
    params = {key: value for record in records if record["type"] == "params" for key, value in record["values"].items()}
    points = [(record["step"], key) for record in records if record["type"] == "metrics" for key in record["values"]]
    summary = {key for record in records if record["type"] == "summary" for key in record["values"]}
    assert (params["max_steps"], params["model/class"], params["model/num_parameters"]) == (4, "Linear", 10)
    assert {
        (2, "train/loss"),
        (4, "train/loss"),
        (2, "eval/loss"),
        (4, "eval/loss"),
        (4, "train/learning_rate"),
    } <= set(points)
    assert summary == {"train/mean_loss", "train/runtime", "train/samples_per_second", "train/steps_per_second"}
    assert endings(report.run) == ["finished"]


def test_evaluating_and_training_on_goes_on_with_the_same_run(make, tmp_path):
    """No orphan run for what comes after the training."""
    trainer, report = make()
    trainer.train()
    trainer.evaluate()
    trainer.train()
    trainer.predict(trainer.eval_dataset)

    names = {key for record in journal(report.run) if record["type"] == "metrics" for key in record["values"]}
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert {"eval/loss", "test/loss"} <= names
    assert endings(report.run) == ["finished"] * 4


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("out of luck"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (SystemExit(143), "killed"),
        (SystemExit(0), "finished"),
    ],
)
def test_the_status_is_the_true_one(make, error, status):
    """An exception, an interrupt, a SIGTERM; the traceback of an exception is kept."""

    def fail(*args, **kwargs):
        raise error

    trainer, report = make()
    trainer.callback_handler.add_callback("on_substep_end", fail)
    trainer.engine.forward = fail

    with pytest.raises(type(error)):
        trainer.train()

    assert endings(report.run) == [status]
    if status == "failed":
        assert "out of luck" in journal(report.run)[-1]["error"]


def test_a_run_that_was_open_before_stays_open(make, tmp_path):
    """Whoever opened it finishes it."""
    run = init(report_to="none", dir=str(tmp_path / "runs"))
    trainer, _ = make(ReportCallback(run=run))

    trainer.train()

    assert trainer.run is run
    assert run.status is None
    run.finish()


def test_a_training_resumed_from_a_checkpoint_goes_on_with_its_run(make, tmp_path):
    """The run's id is in the checkpoint."""
    first, report = make(save_strategy="steps")
    first.train()

    second, again = make(max_steps=6)
    second.train(resume_from_checkpoint=True)

    assert again.run.id == report.run.id
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_nothing_is_reported_when_nothing_is_asked_for(make, tmp_path):
    """report_to="none" writes no run."""
    assert [ReportCallback(off).is_on for off in (None, "", "none", [], False, "NONE")] == [False] * 6
    assert [ReportCallback(on).is_on for on in (..., "all", "wandb", ["wandb"])] == [True] * 4
