"""Numbers of any library, wherever one becomes JSON: history, checkpoints, files, cards, notices."""

import csv
import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from runcast.callbacks.files import CSVLoggerCallback, JSONLLoggerCallback
from runcast.callbacks.hub.card import model_card
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerState
from runcast.values.numbers import as_json, with_numbers

HALVES = {
    "float": 0.5,
    "0-d tensor": torch.tensor(0.5),
    "1-element tensor": torch.tensor([0.5]),
    "1x1 tensor": torch.tensor([[0.5]]),
    "bfloat16": torch.tensor(0.5, dtype=torch.bfloat16),
    "parameter": torch.nn.Parameter(torch.tensor(0.5)),
    "0-d array": np.array(0.5),
    "1-element array": np.array([0.5]),
    "float16": np.float16(0.5),
    "float32": np.float32(0.5),
    "float64": np.float64(0.5),
    "Decimal": Decimal("0.5"),
    "Fraction": Fraction(1, 2),
}
OTHERS = {
    "True": (True, True),
    "np.bool_": (np.bool_(True), True),
    "bool tensor": (torch.tensor(False), False),
    "int64": (np.int64(3), 3),
    "uint8 tensor": (torch.tensor(3, dtype=torch.uint8), 3),
    "text": ("text", "text"),
    "np.str_": (np.str_("text"), "text"),
    "None": (None, None),
    "nested": ({"a": {"b": np.float32(0.5), 3: [torch.tensor(1), (np.int8(2),)]}}, {"a": {"b": 0.5, "3": [1, [2]]}}),
}


@pytest.mark.parametrize("value", HALVES.values(), ids=HALVES)
def test_a_number_of_any_library_is_a_number(make, tmp_path, value):
    """From compute_metrics, from a callback, in the history, in the checkpoint, as the best one, after a resume."""

    class Adds(TrainerCallback):
        def __init__(self):
            self.kept = None

        def on_log(self, args, state, control, logs, **kwargs):
            logs["added"] = value
            self.kept = {"value": value}

        def state(self):
            return {"args": {}, "attributes": {"kept": self.kept}}

    settings = {
        "output_dir": str(tmp_path / "out"),
        "eval_strategy": "steps",
        "eval_steps": 1,
        "logging_steps": 1,
        "save_strategy": "best",
        "metric_for_best_model": "score",
        "load_best_model_at_end": True,
        "compute_metrics": lambda p: {"score": value, "per_class": {"cat": value, "dogs": {"small": value}}},
    }
    logs = [CSVLoggerCallback(tmp_path / "log.csv"), JSONLLoggerCallback(tmp_path / "log.jsonl")]
    trainer = make(max_steps=2, callbacks=[Adds, *logs], **settings)
    trainer.train()

    nested = {"cat": 0.5, "dogs": {"small": 0.5}}
    state = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["best_metric"] == trainer.state.best_metric == 0.5
    assert state["stateful_callbacks"]["Adds"]["attributes"] == {"kept": {"value": 0.5}}
    for history in (state["log_history"], trainer.state.log_history):
        assert next(entry["eval_score"] for entry in history if "eval_score" in entry) == 0.5
        assert next(entry["eval_per_class"] for entry in history if "eval_per_class" in entry) == nested
        assert all(entry["added"] == 0.5 for entry in history)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["eval_per_class"] for line in lines if "eval_per_class" in line] == [nested] * 2
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert {row["eval_per_class/dogs/small"] for row in rows} == {"", "0.5"}
    card = model_card("digits", trainer.args, trainer.state, trainer.model, [])
    assert "| eval_score | 0.5 | 2 |" in card
    assert "| eval_per_class/dogs/small | 0.5 | 2 |" in card

    resumed = make(max_steps=3, callbacks=[Adds], **settings)
    resumed.train(resume_from_checkpoint=tmp_path / "out" / "checkpoint-1")
    assert resumed.state.best_metric == 0.5


@pytest.mark.parametrize(("value", "expected"), OTHERS.values(), ids=OTHERS)
def test_other_values_stay_what_they_are(value, expected):
    """Switches, counts, texts, nothing, and collections of them; with types that JSON has."""
    found = as_json(value)

    assert found == expected
    assert json.loads(json.dumps(found)) == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), torch.tensor(math.nan), np.array([math.nan])])
def test_nan_is_kept(tmp_path, value):
    """In the state that is saved, and read again."""
    TrainerState(best_metric=value, log_history=[{"loss": value}]).save_to_json(tmp_path / "state.json")

    state = TrainerState.load_from_json(tmp_path / "state.json")
    assert math.isnan(state.best_metric)
    assert math.isnan(state.log_history[0]["loss"])


def test_what_is_more_than_a_number_reaches_the_callbacks_as_it_is():
    """A confusion matrix, or a picture that compute_metrics makes."""
    matrix, picture = np.eye(2), object()

    found = with_numbers({"matrix": matrix, "pictures": {"first": picture}, "score": np.float32(0.5)})

    assert found["matrix"] is matrix
    assert found["pictures"]["first"] is picture
    assert type(found["score"]) is float


def test_a_state_that_json_cannot_hold_costs_that_attribute_alone(make, tmp_path, caplog):
    """It is named once; the checkpoint is written."""

    class Odd(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            pass

        def state(self):
            return {"args": {}, "attributes": {"best": np.float32(0.5), "rows": np.arange(3), "lock": object()}}

    make(callbacks=[Odd], max_steps=2, save_strategy="steps", save_steps=1, output_dir=str(tmp_path)).train()

    state = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["stateful_callbacks"]["Odd"]["attributes"] == {"best": 0.5, "rows": [0, 1, 2]}
    assert caplog.text.count("The attribute 'lock' in the state of the callback Odd is a object") == 1


def test_metrics_may_have_keys_that_are_no_text(make):
    """A class's number, as scikit-learn's reports have them; what is no mapping is named."""
    found = make(compute_metrics=lambda p: {0: 0.5, ("a", 1): 0.25, None: 1, "eval_f1": 0.75}).evaluate()

    assert (found["eval_0"], found["eval_('a', 1)"], found["eval_None"], found["eval_f1"]) == (0.5, 0.25, 1, 0.75)
    with pytest.raises(OptionError, match=r"compute_metrics returned a float. Return a dict of numbers by name"):
        make(compute_metrics=lambda p: 0.5).evaluate()
