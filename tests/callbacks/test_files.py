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
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_other_ranks_write_nothing(stage, tmp_path):
    """One file for one training."""
    training = stage(JSONLLoggerCallback(tmp_path / "log.jsonl"))
    training.state.is_world_process_zero = False
    training.event("on_train_begin")
    training.log(loss=1.0)

    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("callback", "name", "torn"),
    [
        (CSVLoggerCallback, "log.csv", "12"),
        (CSVLoggerCallback, "log.csv", "1,0.0,3.0\n2,0."),
        (JSONLLoggerCallback, "log.jsonl", '{"step": 1, "about": {"a": 1}'),
        (JSONLLoggerCallback, "log.jsonl", "\0\0\0"),
    ],
)
def test_a_row_that_a_crash_cut_off_is_left_out(stage, tmp_path, callback, name, torn):
    """The rows before it stay, and the resumed training goes on behind them."""
    first = stage(callback(tmp_path / name))
    first.event("on_train_begin")
    first.log(loss=3.0)
    with (tmp_path / name).open("a") as file:
        file.write(torn)

    resumed = stage(callback(tmp_path / name))
    resumed.state.global_step = 20
    resumed.event("on_train_begin")
    resumed.log(loss=0.5)

    rows = [(int(row["step"]), float(row["loss"])) for row in read(tmp_path / name)]
    assert (rows[0], rows[-1]) == ((1, 3.0), (21, 0.5))
    assert all(step in (1, 21) for step, _ in rows)


@pytest.mark.parametrize(("callback", "name"), [(CSVLoggerCallback, "log.csv"), (JSONLLoggerCallback, "log.jsonl")])
def test_values_of_any_kind_are_kept(stage, tmp_path, callback, name):
    """Tensors as numbers, texts with every sign, what is neither as text."""
    import torch

    training = stage(callback(tmp_path / name))
    training.event("on_train_begin")
    training.log(loss=torch.tensor(0.5), text='a "quoted",\u2028 word', many=torch.zeros(2), nothing=None, on=True)
    training.event("on_log", logs={"loss": 1})
    resumed = stage(callback(tmp_path / name))
    resumed.state.global_step = 2
    resumed.event("on_train_begin")

    row = read(tmp_path / name)[0]
    assert float(row["loss"]) == 0.5
    assert row["text"] == 'a "quoted",\u2028 word'
    assert row["many"] == "tensor([0., 0.])"
    assert len(read(tmp_path / name)) == 2


def test_pandas_reads_the_lines(stage, tmp_path):
    """As `pandas.read_json(path, lines=True)`, NaN and infinities included."""
    import pandas as pd

    training = stage(JSONLLoggerCallback(tmp_path / "log.jsonl"))
    training.event("on_train_begin")
    training.log(loss=0.5)
    training.log(loss=float("nan"), grad_norm=float("inf"))

    table = pd.read_json(tmp_path / "log.jsonl", lines=True)

    assert table["step"].tolist() == [1, 2]
    assert table["loss"].isna().tolist() == [False, True]


@pytest.mark.parametrize("callback", [CSVLoggerCallback, JSONLLoggerCallback])
def test_a_file_that_cannot_be_written_hurts_no_training(stage, tmp_path, caplog, callback):
    """It is said once; also in a trainer that does not guard its callbacks."""
    (tmp_path / "file").write_text("")
    log = callback(tmp_path / "file" / "log")
    training = stage(log)

    for hook, about in ((log.on_train_begin, {}), (log.on_log, {"logs": {"loss": 1.0}})):
        hook(training.args, training.state, training.control, **about)

    assert caplog.text.count("cannot be written") == 1
