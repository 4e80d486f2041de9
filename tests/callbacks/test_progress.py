"""What a person sees of a training."""

import io
import re
import sys

import pytest
import torch
from rich.console import Console
from rich.file_proxy import FileProxy

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


def test_a_long_training_does_not_fill_its_log(stage, clock):
    """Ten hours are some hundred lines, not 3,600."""
    out = io.StringIO()
    train(stage(ProgressCallback(Console(file=out, width=200))), clock, steps=36_000)

    assert 100 < len(out.getvalue().splitlines()) < 300


def test_a_terminal_gets_a_bar_with_rate_and_loss(stage, clock):
    """And one for the evaluation, which goes away."""
    out = io.StringIO()
    train(stage(ProgressCallback(Console(file=out, width=120, force_terminal=True))), clock)

    assert "train" in out.getvalue()
    assert "25/50" in out.getvalue()
    assert "loss 0.04" in out.getvalue()


def test_bars_are_nested(stage, clock):
    """One for the training, one for the epoch that it is in, one for the evaluation while there is one."""
    out = io.StringIO()
    training = stage(ProgressCallback(Console(file=out, width=120, force_terminal=True, color_system=None)))
    training.state.max_steps, training.state.num_train_epochs = 50, 5
    training.event("on_train_begin")
    clock[0], training.state.global_step, training.state.epoch = 9.0, 17, 1.7
    training.event("on_step_end")
    clock[0] = 10.0
    training.event("on_prediction_step", eval_dataloader=range(4))
    lines = [" ".join(line.split()) for line in re.split(r"\x1b\[[0-9]*[A-Za-z]|[\r\n]", out.getvalue())]
    training.event("teardown")

    assert [line for line in lines if "17/50" in line][-1].startswith("train")
    assert "1.889 steps/s" in [line for line in lines if "17/50" in line][-1]
    assert "epoch 2" in [line for line in lines if " 7/10" in line][-1]
    assert [line for line in lines if "1/4" in line][-1].startswith("eval")


@pytest.mark.parametrize("settings", [{"force_jupyter": True}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_where_nothing_can_be_drawn_lines_are_printed(stage, clock, settings, monkeypatch):
    """A notebook without ipywidgets, a terminal that only prints: no carriage return, no escape code."""
    monkeypatch.setattr("runcast.callbacks.progress.importlib.util.find_spec", lambda name: None)
    out = []
    console = Console(file=io.StringIO(), width=200, **settings)
    monkeypatch.setattr(console, "print", lambda text, **_: out.append(text))
    train(stage(ProgressCallback(console)), clock)

    assert out[0] == "step 10/50 (20 %)  epoch 0.20  loss 0.1111  1 steps/s  40 s left"
    assert not any(code in line for line in out for code in ("\r", "\x1b"))


def test_a_notebook_with_widgets_gets_bars(stage, clock, monkeypatch):
    """As a terminal does."""
    monkeypatch.setattr("runcast.callbacks.progress.importlib.util.find_spec", lambda name: object())
    callback = ProgressCallback(Console(file=io.StringIO(), force_jupyter=True))

    assert callback._draws


def test_a_long_evaluation_shows_that_it_lives(stage, clock):
    """In a log file: a line every ten seconds."""
    out = io.StringIO()
    training = stage(ProgressCallback(Console(file=out, width=200)))
    for _ in range(25):
        clock[0] += 1.0
        training.event("on_prediction_step", eval_dataloader=range(40))

    assert out.getvalue().splitlines() == ["evaluation: batch 10/40", "evaluation: batch 20/40"]


PROGRAM = """
import io, os, sys
from types import SimpleNamespace
from runcast.callbacks.progress import PrinterCallback, ProgressCallback
from runcast.core.events import TrainerState

state = TrainerState(max_steps=2)
callbacks = [ProgressCallback(), PrinterCallback()]
for step in range(3):
    state.global_step = step
    for callback in callbacks:
        callback.on_log(None, state, None, logs={"loss": 1.0})
    callbacks[0].on_evaluate(None, state, None, metrics={"eval_loss": 1.0})
os._exit(7)
"""


def test_a_reader_that_goes_away_ends_nothing():
    """`python train.py 2>&1 | head -1`: the training goes on in silence."""
    import os
    import subprocess
    import sys

    read, write = os.pipe()
    os.close(read)

    done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=write, stderr=write, check=False)

    os.close(write)
    assert done.returncode == 7


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


class Endless(torch.utils.data.IterableDataset):
    """A stream without a length."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return ((torch.zeros(4), torch.tensor(index % 2)) for index in range(self.count))


@pytest.mark.parametrize("draws", [True, False])
def test_a_stream_without_a_length_is_trained_on_and_evaluated(make, draws, monkeypatch):
    """The bar of its evaluation has no total, and there is none for an epoch that has no end; the cursor comes back."""
    out = io.StringIO()
    trainer, _ = make(max_steps=3, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=2)
    trainer.train_dataset, trainer.eval_dataset = Endless(1000), Endless(6)
    trainer.pop_callback(ProgressCallback)
    progress = ProgressCallback(Console(file=out, width=120, force_terminal=draws, color_system=None))
    monkeypatch.setattr("runcast.callbacks.progress.SHARE", 0.0)
    progress._every_s = 0.0  # each step is drawn, or printed
    trainer.add_callback(progress)

    trainer.train()

    text = out.getvalue()
    assert trainer.callback_handler.failures == 0
    assert "0/0" not in text
    assert ("3/?" if draws else "evaluation: batch 3\n") in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # hidden as often as shown


def test_a_bar_that_breaks_leaves_the_terminal_as_it_was(make, swallowed):
    """The training goes on without it, what is printed is seen, the cursor comes back."""
    out = io.StringIO()

    class Breaks(ProgressCallback):
        def on_log(self, args, state, control, **kwargs):
            raise ValueError("broken")

    trainer, _ = make()
    trainer.add_callback(Breaks(Console(file=out, width=120, force_terminal=True)))

    trainer.train()

    assert trainer.state.global_step == 4
    assert out.getvalue().count("\x1b[?25l") == out.getvalue().count("\x1b[?25h") == 1
    assert not isinstance(sys.stdout, FileProxy)
    assert not isinstance(sys.stderr, FileProxy)
