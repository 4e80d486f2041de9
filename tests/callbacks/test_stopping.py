"""Early stopping and termination on NaN."""

import json
import math

import pytest
import torch
from torch import nn

from runcast.callbacks.rates import ReduceLROnPlateauCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.callbacks.stopping import EarlyStoppingCallback, TerminateOnNaNCallback
from runcast.core.errors import OptionError
from runcast.run.init import init


def stops_after(training, metric, values):
    """Return the number of evaluations after which the training stops; None if it does not."""
    training.event("on_train_begin")
    for count, value in enumerate(values, 1):
        training.evaluate(**{metric: value})
        if training.control.should_training_stop:
            return count
    return None


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"early_stopping_patience": 2}, [1.0, 0.9, 0.95, 0.91, 0.5], 4),
        ({"early_stopping_patience": 2}, [1.0, 0.9, 0.95, 0.89, 0.95, 0.88], None),
        ({"early_stopping_patience": 1, "early_stopping_threshold": 0.1}, [1.0, 0.95], 2),
        ({"early_stopping_patience": 1, "greater_is_better": True}, [0.1, 0.2, 0.15], 3),
        ({"early_stopping_patience": 9, "divergence_limit": 5.0}, [1.0, 6.0], 2),
        ({"early_stopping_patience": 9}, [1.0, math.nan], 2),
        ({"early_stopping_patience": 9}, [math.inf], 1),
        ({"early_stopping_patience": 2, "check_finite": False}, [1.0, math.nan, math.nan], 3),
    ],
)
def test_a_training_stops_when_its_metric_no_longer_improves(stage, settings, values, expected):
    """Patience, threshold, direction, divergence and non-finite values."""
    assert stops_after(stage(EarlyStoppingCallback(**settings)), "eval_loss", values) == expected


def test_the_metric_and_its_direction_are_those_of_the_arguments(stage):
    """As in transformers: metric_for_best_model with greater_is_better."""
    training = stage(EarlyStoppingCallback(1), metric_for_best_model="accuracy", greater_is_better=True)

    assert stops_after(training, "eval_accuracy", [0.5, 0.6, 0.6]) == 3


def test_the_reason_is_said(stage, capsys):
    """In the attribute, in the history, in the state that is saved, and in a line at the end."""
    callback = EarlyStoppingCallback(1)
    training = stage(callback)
    stops_after(training, "eval_loss", [0.5, 0.75])

    training.event("on_train_end")

    assert callback.reason == "eval_loss has not improved on 0.5 in 1 evaluations"
    assert training.state.log_history[-1]["stopped_early"] == callback.reason
    assert callback.state()["attributes"]["reason"] == callback.reason
    assert "stopped early at step 2: eval_loss has not improved on 0.5 in 1 evaluations." in capsys.readouterr().err


def test_the_reason_is_in_the_run(stage, tmp_path):
    """Whoever looks at it in a tracker sees why it is so short."""
    run = init(report_to="none", dir=tmp_path)
    training = stage(EarlyStoppingCallback(1), ReportCallback(run=run))
    training.handler.context["callback_handler"] = training.handler
    stops_after(training, "eval_loss", [0.5, 0.75])

    training.event("on_train_end")
    run.finish()

    lines = map(json.loads, (run.dir / "journal.jsonl").read_text().splitlines())
    assert [line["values"] for line in lines if line["type"] == "summary"] == [
        {"stopped_early": "eval_loss has not improved on 0.5 in 1 evaluations"}
    ]


def test_the_best_weights_come_back(stage):
    """restore_best leaves the model as it was at its best evaluation."""
    model = nn.Linear(1, 1)
    training = stage(EarlyStoppingCallback(1, restore_best=True), context={"model": model})
    training.event("on_train_begin")
    for weight, loss in ((1.0, 0.5), (2.0, 0.1), (3.0, 0.2)):
        nn.init.constant_(model.weight, weight)
        training.evaluate(eval_loss=loss)

    training.event("on_train_end")

    assert torch.equal(model.weight, torch.tensor([[2.0]]))


def test_patience_goes_on_after_a_resume(stage):
    """What was waited before the checkpoint counts."""
    first, second = stage(EarlyStoppingCallback(2)), stage(EarlyStoppingCallback(2))
    stops_after(first, "eval_loss", [0.5, 0.6])
    second.handler.load_states(first.handler.states())
    second.state.global_step = 2

    assert stops_after(second, "eval_loss", [0.7]) == 1


def test_a_metric_that_is_never_reported_is_an_error(stage):
    """The message lists what there is."""
    training = stage(EarlyStoppingCallback(metric="f1"))
    training.event("on_train_begin")

    with pytest.raises(OptionError, match=r"'eval_f1' is not reported\. The evaluation has: eval_accuracy, eval_loss"):
        training.evaluate(eval_loss=1.0, eval_accuracy=0.5)


def test_without_evaluations_it_is_an_error(stage):
    """Nothing to watch is found before the first step."""
    with pytest.raises(OptionError, match="eval_strategy is 'no'"):
        stage(EarlyStoppingCallback(), eval_strategy="no").event("on_train_begin")


@pytest.mark.parametrize(("loss", "stops"), [(1.0, False), (math.nan, True), (-math.inf, True)])
def test_a_loss_that_is_no_number_ends_the_training(stage, loss, stops):
    """Other values may be what they are."""
    training = stage(TerminateOnNaNCallback())

    training.log(loss=loss, grad_norm=math.nan)

    assert training.control.should_training_stop is stops


def test_the_loss_that_is_no_number_is_named(stage, capsys):
    """Once, in the history and in a line."""
    training = stage(TerminateOnNaNCallback())
    training.log(loss=math.nan)
    training.log(eval_loss=math.inf)

    assert training.state.log_history == [{"stopped_early": "loss is nan", "step": 1, "epoch": 0.0}]
    assert capsys.readouterr().err.count("stopped early at step 1: loss is nan.") == 1


def test_the_best_weights_come_back_after_a_resume(stage, tmp_path):
    """From the checkpoint of the best step; without one, the user is told."""
    from safetensors.torch import save_model

    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, 2.0)
    (tmp_path / "checkpoint-7").mkdir()
    save_model(model, str(tmp_path / "checkpoint-7" / "model.safetensors"))
    nn.init.constant_(model.weight, 3.0)
    callback = EarlyStoppingCallback(2, restore_best=True)
    training = stage(callback, context={"model": model}, output_dir=str(tmp_path))
    training.state.global_step = 8
    training.handler.load_states({"EarlyStoppingCallback": {"attributes": {"best": 0.5, "best_step": 7, "waited": 1}}})
    training.event("on_train_begin")
    training.evaluate(eval_loss=0.9)

    training.event("on_train_end")

    assert training.control.should_training_stop
    assert torch.equal(model.weight, torch.tensor([[2.0]]))


def test_best_weights_that_are_gone_are_missed_aloud(stage, tmp_path, caplog):
    """The model keeps its last ones, and the user is told."""
    training = stage(
        EarlyStoppingCallback(1, restore_best=True), context={"model": nn.Linear(1, 1)}, output_dir=str(tmp_path)
    )
    training.state.global_step = 8
    training.handler.load_states({"EarlyStoppingCallback": {"attributes": {"best": 0.5, "best_step": 7}}})
    training.event("on_train_begin")
    training.evaluate(eval_loss=0.9)

    training.event("on_train_end")

    assert "the best weights, of step 7, are from before the training was resumed" in caplog.text


def test_of_several_datasets_one_is_watched(stage, caplog):
    """Evaluations of the others are passed over; if none ever has the metric, that is said."""
    right, wrong = EarlyStoppingCallback(1, metric="a_loss"), EarlyStoppingCallback(1, metric="f1")
    training = stage(right, wrong)
    training.event("on_train_begin")
    for value in (0.5, 0.75):
        training.evaluate(eval_b_loss=0.1, eval_b_runtime=1.0)
        training.evaluate(eval_a_loss=value, eval_a_runtime=1.0)

    training.event("on_train_end")

    assert right.reason == "eval_a_loss has not improved on 0.5 in 1 evaluations"
    assert "EarlyStoppingCallback has seen no eval_f1" in caplog.text


def test_no_patience_at_all_is_refused():
    """It would stop at the first evaluation."""
    with pytest.raises(OptionError, match="early_stopping_patience=0 must be a number of evaluations"):
        EarlyStoppingCallback(0)


NOT_NUMBERS = [math.nan, math.inf, -math.inf, None, "n/a", torch.tensor(math.nan), torch.zeros(2)]


@pytest.mark.parametrize("greater", [True, False])
@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_not_a_finite_number_is_no_improvement(stage, value, greater):
    """First, and later: it counts as one evaluation without, for early stopping and for the learning rate."""
    better = 0.7 if greater else 0.3
    stopping = EarlyStoppingCallback(2, greater_is_better=greater, check_finite=False)
    rates = ReduceLROnPlateauCallback(0.5, patience=2, greater_is_better=greater)
    training = stage(stopping, rates, context={"optimizer": torch.optim.SGD([torch.zeros(1)], lr=1.0)})

    assert stops_after(training, "eval_loss", [value, 0.5, value, better, value, value]) == 6
    assert (stopping.best, stopping.best_step, rates.best, rates.reductions) == (better, 4, better, 1)


def test_a_metric_that_is_missing_now_and_then_has_not_improved_there(stage):
    """Its name is known to be right."""
    training = stage(EarlyStoppingCallback(2, metric="auc"))
    training.event("on_train_begin")
    for metrics in ({"eval_auc": 0.5}, {"eval_loss": 0.1}, {"eval_loss": 0.1}):
        training.evaluate(**metrics, eval_runtime=1.0)

    assert training.control.should_training_stop


@pytest.mark.parametrize("value", [None, "n/a", torch.zeros(2)])
def test_a_loss_that_cannot_be_read_ends_nothing(stage, value):
    """It is neither NaN nor infinite."""
    training = stage(TerminateOnNaNCallback())

    training.log(loss=value)

    assert not training.control.should_training_stop


def test_a_name_that_no_dataset_reports_is_refused_when_all_were_evaluated(stage):
    """`val_lost` begins like the metrics of val: it is known to be wrong when val comes again."""
    training = stage(EarlyStoppingCallback(9, metric="val_lost"))
    training.event("on_train_begin")
    for part in ("val", "val_ood"):
        training.evaluate(**{f"eval_{part}_loss": 0.1, f"eval_{part}_runtime": 1.0})

    with pytest.raises(OptionError, match=r"'eval_val_lost' is not reported.*eval_val_loss"):
        training.evaluate(eval_val_loss=0.1, eval_val_runtime=1.0)


def test_its_attributes_are_those_of_transformers(stage):
    """A subclass may override check_metric_value, and a checkpoint has its arguments and its count."""
    seen = []

    class Mine(EarlyStoppingCallback):
        def check_metric_value(self, args, state, control, metric_value):
            seen.append(metric_value)
            super().check_metric_value(args, state, control, metric_value)

    callback = Mine(2, 0.5)
    training = stage(callback, metric_for_best_model="loss")
    training.event("on_train_begin")
    training.state.global_step = 1
    for loss in (3.0, 2.9):
        training.event("on_evaluate", metrics={"eval_loss": loss})

    assert seen == [3.0, 2.9]
    assert (callback.early_stopping_patience, callback.early_stopping_threshold) == (2, 0.5)
    assert callback.early_stopping_patience_counter == callback.waited == 1
    assert callback.state()["args"] == {"early_stopping_patience": 2, "early_stopping_threshold": 0.5}
