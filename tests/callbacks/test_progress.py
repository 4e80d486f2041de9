"""What a person sees of a training."""

import io

import pytest
from rich.console import Console

from runcast.callbacks.progress import PrinterCallback, ProgressCallback


@pytest.fixture
def clock(monkeypatch):
    """Return a clock of one's own."""
    now = [0.0]
    monkeypatch.setattr("runcast.callbacks.progress.time.monotonic", lambda: now[0])
    return now


def train(training, clock, steps=25):
    """Make steps of a second each, with a loss, and evaluate at the end."""
    training.state.max_steps = 50
    training.event("on_train_begin")
    for step in range(1, steps + 1):
        clock[0] += 1.0
        training.state.global_step, training.state.epoch = step, step / 50
        training.event("on_step_end")
        training.event("on_log", logs={"loss": 1 / step})
    training.event("on_prediction_step")
    training.event("on_evaluate", metrics={"eval_loss": 0.25, "eval_runtime": 3.0, "epoch": 0.5})
    training.event("on_train_end")
    training.event("teardown")


def test_a_log_file_gets_a_line_now_and_then(stage, clock):
    """Every ten seconds, at an evaluation, at the end: no bars, no escape codes."""
    out = io.StringIO()
    train(stage(ProgressCallback(Console(file=out, width=200))), clock)

    assert out.getvalue().splitlines() == [
        "step 10/50 (20 %)  epoch 0.20  loss 0.1111  1 steps/s  40 s left",
        "step 20/50 (40 %)  epoch 0.40  loss 0.05263  1 steps/s  30 s left",
        "epoch 0.50  step 25  eval_loss 0.25",
        "step 25/50 (50 %)  epoch 0.50  loss 0.04  1 steps/s  25 s left",
    ]


def test_a_terminal_gets_a_bar_with_rate_and_loss(stage, clock):
    """And one for the evaluation, which goes away."""
    out = io.StringIO()
    train(stage(ProgressCallback(Console(file=out, width=120, force_terminal=True))), clock)

    assert "train" in out.getvalue()
    assert "25/50" in out.getvalue()
    assert "loss 0.04" in out.getvalue()


def test_no_thread_is_started(stage, clock):
    """Drawing is done by the training's own thread."""
    import threading

    before = threading.active_count()
    training = stage(ProgressCallback(Console(file=io.StringIO(), force_terminal=True)))
    training.event("on_train_begin")

    assert threading.active_count() == before
    training.event("teardown")


def test_other_ranks_are_silent(stage, clock):
    """One process of a job shows anything."""
    out = io.StringIO()
    training = stage(ProgressCallback(Console(file=out)))
    training.state.is_world_process_zero = False
    train(training, clock)

    assert out.getvalue() == ""


def test_the_printer_prints_what_is_logged(stage, capsys):
    """A line for each log, numbers short."""
    stage(PrinterCallback()).log(loss=1 / 3, epoch=1)

    assert capsys.readouterr().out == "{'loss': '0.3333', 'epoch': 1}\n"
