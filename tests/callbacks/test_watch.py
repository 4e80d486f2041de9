"""Gradients and parameters, seen from outside."""

import json

import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.callbacks.watch import WatchCallback, _row
from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Print nothing."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")


def trainer_of(tmp_path, *callbacks, model=None, **settings):
    """Make a Trainer whose gradient is known: the loss is the sum of two weights, one of them three times."""
    chosen = {
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "optim": "sgd",
        "learning_rate": 1.0,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0,
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "logging_steps": 3,
        **settings,
    }
    if model is None:
        model = nn.Linear(2, 1, bias=False)
        nn.init.zeros_(model.weight)
    data = [(torch.tensor([3.0, 4.0]), torch.tensor(0.0))] * 8
    callbacks = [*callbacks, ProgressCallback(Console(quiet=True))]
    return Trainer(
        model,
        TrainingArguments(**chosen),
        train_dataset=data,
        compute_loss=lambda out, _: out.mean(),
        callbacks=callbacks,
    )


def records(report, kind):
    """Read the records of a kind from the run's journal."""
    lines = (report.run.dir / "journal.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["type"] == kind]


def test_norms_and_histograms_are_logged_at_their_step(tmp_path):
    """Gradients as the optimizer used them, weights as it left them."""
    report = ReportCallback("none", dir=str(tmp_path / "runs"))

    trainer_of(tmp_path, WatchCallback("all", every_steps=2, bins=4), report).train()

    points = {
        record["step"]: record["values"]
        for record in records(report, "metrics")
        if "gradients_norm" in record["values"]
    }
    assert points == {
        2: {
            "gradients_norm": 5.0,
            "gradients_norm/weight": 5.0,
            "parameters_norm": 10.0,
            "parameters_norm/weight": 10.0,
        },
        4: {
            "gradients_norm": 5.0,
            "gradients_norm/weight": 5.0,
            "parameters_norm": 20.0,
            "parameters_norm/weight": 20.0,
        },
    }
    media = {(record["step"], record["key"]): report.run.dir / record["path"] for record in records(report, "media")}
    assert sorted(media) == [
        (2, "gradients/weight"),
        (2, "parameters/weight"),
        (4, "gradients/weight"),
        (4, "parameters/weight"),
    ]
    histogram = json.loads(media[4, "parameters/weight"].read_text())
    assert histogram["counts"] == [1, 0, 0, 1]
    assert histogram["edges"] == [-16.0, -15.0, -14.0, -13.0, -12.0]


@pytest.mark.parametrize(
    ("values", "counts", "edges"),
    [
        ([1.0, 1.0, 1.0], [0, 3], [0.5, 1.0, 1.5]),
        ([0.0, float("nan"), 2.0, float("inf")], [1, 1], [0.0, 1.0, 2.0]),
        ([float("nan")], [0, 0], [-0.5, 0.0, 0.5]),
    ],
)
def test_odd_values_have_a_histogram_too(tmp_path, values, counts, edges):
    """One value only, and those that are not finite: these are in no bin."""
    report = ReportCallback("none", dir=str(tmp_path / "runs"))
    model = nn.Linear(2, 1, bias=False)
    model.extra = nn.Parameter(torch.tensor(values))

    trainer_of(tmp_path, WatchCallback("parameters", 1, bins=2), report, model=model, max_steps=1).train()

    (path,) = [record["path"] for record in records(report, "media") if record["key"] == "parameters/extra"]
    histogram = json.loads((report.run.dir / path).read_text())
    assert (histogram["counts"], histogram["edges"]) == (counts, edges)


@pytest.mark.parametrize(
    ("tensor", "norm", "count"),
    [
        (
            torch.sparse_coo_tensor(
                torch.tensor([[0, 0, 2]]), torch.tensor([1.0, 2.0, 4.0]), (5,), check_invariants=True
            ),
            5.0,
            2,
        ),
        (torch.tensor([3.0 + 4.0j]), 5.0, 2),
        (torch.tensor([3, -4], dtype=torch.int8), 5.0, 2),
        (torch.tensor([30_000.0, 40_000.0], dtype=torch.float16), 50_000.0, 2),
        (torch.tensor(-5.0, dtype=torch.bfloat16), 5.0, 1),
    ],
)
def test_tensors_of_any_kind_have_a_norm_and_a_histogram(tensor, norm, count):
    """Sparse gradients, complex, quantised and half precision."""
    row = _row(torch, tensor, 4)

    assert row[0] == pytest.approx(norm, rel=1e-3)
    assert row[3:].sum() == count


def test_without_a_run_the_norms_are_in_the_log(tmp_path):
    """For a log file, or a tracker's own callback."""
    trainer = trainer_of(tmp_path, WatchCallback(every_steps=3, histograms=False))
    seen = []
    trainer.add_callback("on_log", lambda args, state, control, logs, **_: seen.append(dict(logs)))

    trainer.train()

    assert [logs["gradients_norm"] for logs in seen if "gradients_norm" in logs] == [5.0]


def test_watching_changes_no_weight(tmp_path):
    """Bit by bit, and no random number is drawn."""

    def weights(*callbacks):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1))
        trainer_of(tmp_path, *callbacks, model=model, max_steps=8).train()
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(weights(), weights(WatchCallback("all", 1)))


def test_nothing_is_read_from_the_device(tmp_path):
    """All that is computed at a step runs on the meta device, which has no value to be read, but for the copy."""
    row = _row(torch, torch.empty(5, 7, device="meta"), 16)

    assert (row.shape, row.dtype) == ((19,), torch.float64)


@pytest.mark.gpu
def test_a_step_that_is_watched_has_no_synchronisation():
    """On a GPU, as torch itself counts them."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).cuda()
    model(torch.ones(2, 64, device="cuda")).sum().backward()
    watch = WatchCallback("all", 1)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        watch._waiting.append(watch._measure(1, model))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert watch._waiting[0].is_ready(waits=True)
    rows = watch._waiting[0].rows
    assert rows.shape == (8, 67)
    assert rows[:, 3:].sum(1).tolist() == [4096.0, 4096.0, 64.0, 64.0] * 2


@pytest.mark.parametrize(
    ("wrong", "message"), [({"log": "weights"}, "log='weights' is unknown"), ({"every_steps": 0}, "positive")]
)
def test_a_wrong_setting_is_refused(wrong, message):
    """When the callback is made."""
    with pytest.raises(OptionError, match=message):
        WatchCallback(**wrong)
