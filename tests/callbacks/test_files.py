"""CSV and JSON lines of what was logged."""

import csv
import json

import pytest

from runcast.callbacks.files import CSVLoggerCallback, JSONLLoggerCallback


def test_a_key_that_appears_later_gets_its_column(stage, tmp_path):
    """Earlier rows have an empty cell there."""
    training = stage(CSVLoggerCallback(tmp_path / "deep" / "log.csv"))
    training.event("on_train_begin")
    training.log(loss=1.5)
    training.log(loss=0.5, eval_loss=0.25)
    training.log(loss=0.4)

    rows = list(csv.DictReader((tmp_path / "deep" / "log.csv").read_text().splitlines()))

    assert rows == [
        {"step": "1", "epoch": "0.0", "loss": "1.5", "eval_loss": ""},
        {"step": "2", "epoch": "0.0", "loss": "0.5", "eval_loss": "0.25"},
        {"step": "3", "epoch": "0.0", "loss": "0.4", "eval_loss": ""},
    ]


@pytest.mark.parametrize(("callback", "name"), [(CSVLoggerCallback, "log.csv"), (JSONLLoggerCallback, "log.jsonl")])
def test_a_resumed_training_goes_on_behind_its_step(stage, tmp_path, callback, name):
    """Rows behind the checkpoint are written again, not twice; a new training begins a new file."""
    first = stage(callback(tmp_path / name))
    first.event("on_train_begin")
    for loss in (3.0, 2.0, 1.0):
        first.log(loss=loss)

    resumed = stage(callback(tmp_path / name))
    resumed.state.global_step = 2
    resumed.event("on_train_begin")
    resumed.log(loss=0.5)

    rows = read(tmp_path / name)
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(1, 3.0), (2, 2.0), (3, 0.5)]
    stage(callback(tmp_path / name)).event("on_train_begin")
    assert read(tmp_path / name) == []


def read(path):
    """Read either file."""
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text().splitlines()))
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_other_ranks_write_nothing(stage, tmp_path):
    """One file for one training."""
    training = stage(JSONLLoggerCallback(tmp_path / "log.jsonl"))
    training.state.is_world_process_zero = False
    training.event("on_train_begin")
    training.log(loss=1.0)

    assert not (tmp_path / "log.jsonl").exists()
