"""Shows how far a training is: bars in a terminal or a notebook, a line now and then anywhere else."""

import contextlib
import importlib.util
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from runcast.core.events import TrainerCallback, TrainerControl, TrainerState

REFRESH_S = 0.25  # drawing takes about 2 ms: under 1 % of the time
LINE_S = 10.0
SHARE = 0.02  # of the time passed, between two lines: some hundreds in a day


class ProgressCallback(TrainerCallback):
    """Progress bars for the training, the epoch and each evaluation, with rate, loss and time left.

    In a terminal, and in a notebook that has ipywidgets. Anywhere else (a log file) it prints a line for each
    evaluation, and otherwise one every 10 s at first, later one for each 2 % of the time passed. Only the first process
    of a job shows anything. It starts no thread.

    Args:
        console: Where to draw; by default standard error.
    """

    reports = True

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _Console(file=sys.stderr)
        self._bars: Progress | None = None
        self._train: TaskID | None = None
        self._epoch: TaskID | None = None
        self._eval: TaskID | None = None
        self._latest: dict[str, Any] = {}
        self._shown = self._began = 0.0
        self._first_step = self._batches = 0
        self._every_s = REFRESH_S if self._draws else LINE_S

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin the bar of the training."""
        self._latest, self._first_step, self._began = {}, state.global_step, time.monotonic()
        if state.is_world_process_zero and self._draws:
            self._train = self._open().add_task("train", total=state.max_steps, completed=state.global_step, text="")
            if 1 < state.num_train_epochs <= state.max_steps:  # an epoch of a stream has no length
                self._epoch = self._open().add_task("epoch", total=state.max_steps / state.num_train_epochs, text="")
                self._move(state, time.monotonic())
        self._shown = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move the bar, or print a line, if it is time to."""
        now = time.monotonic()
        if now - self._shown < self._pause_s(now):
            return
        self._shown = now
        self._show(state, now)

    def on_prediction_step(
        self, args: Any, state: TrainerState, control: TrainerControl, eval_dataloader: Any = None, **kwargs: Any
    ) -> None:
        """Move the bar of the evaluation, or print a line, if it is time to."""
        if not state.is_world_process_zero:
            return
        self._batches += 1
        if self._draws and self._eval is None:
            self._eval = self._open().add_task("eval", total=_length(eval_dataloader), text="")
        now = time.monotonic()
        if now - self._shown < self._pause_s(now):
            return
        self._shown = now
        if self._bars is not None and self._eval is not None:
            self._bars.update(self._eval, completed=self._batches, refresh=True)
        else:
            self._print(f"evaluation: batch {self._batches}" + (f"/{n}" if (n := _length(eval_dataloader)) else ""))

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **kwargs: Any
    ) -> None:
        """Take the bar of the evaluation away and print its metrics."""
        self._close_eval()
        if state.is_world_process_zero:
            skipped = ("_runtime", "_per_second", "epoch")
            values = "  ".join(f"{key} {_short(value)}" for key, value in metrics.items() if not key.endswith(skipped))
            self._print(f"epoch {state.epoch:.2f}  step {state.global_step}  {values}")

    def on_predict(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **kwargs: Any
    ) -> None:
        """Take the bar of the prediction away."""
        self._close_eval()
        if self._train is None:
            self._close()

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Remember the latest values for the next drawing."""
        self._latest.update(logs)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Complete the bar, or print the last line."""
        self._show(state, time.monotonic())
        self._close()

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _pause_s(self, now: float) -> float:
        """Return how long after the last drawing or line the next one may come."""
        return self._every_s if self._draws else max(self._every_s, SHARE * (now - self._began))

    @property
    def _draws(self) -> bool:
        if self._console.is_jupyter:
            return importlib.util.find_spec("ipywidgets") is not None
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def _open(self) -> Progress:
        if self._bars is None:
            columns = (
                TextColumn("{task.description:5}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
            )
            times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
            self._bars = Progress(*columns, *times, console=self._console, auto_refresh=False)
            self._bars.start()
        return self._bars

    def _close_eval(self) -> None:
        if self._bars is not None and self._eval is not None:
            self._bars.remove_task(self._eval)
        self._eval, self._batches = None, 0

    def _close(self) -> None:
        if self._bars is not None:
            self._close_eval()
            self._bars.stop()
        self._bars = self._train = self._epoch = None

    def _show(self, state: TrainerState, now: float) -> None:
        if self._bars is not None and self._train is not None:
            self._move(state, now)
            self._bars.refresh()
        elif state.is_world_process_zero:
            self._print_line(state, now)

    def _move(self, state: TrainerState, now: float) -> None:
        assert self._bars is not None
        assert self._train is not None
        self._bars.update(self._train, completed=state.global_step, text=self._text(state, now))
        if self._epoch is not None:
            whole = min(int(state.epoch or 0), max(int(state.num_train_epochs) - 1, 0))
            done = state.global_step - whole * state.max_steps / state.num_train_epochs
            self._bars.update(self._epoch, completed=round(done), description=f"epoch {whole + 1}", text="")

    def _text(self, state: TrainerState, now: float) -> str:
        rate = (state.global_step - self._first_step) / max(now - self._began, 1e-9)
        loss = f"loss {_short(self._latest['loss'])}  " if "loss" in self._latest else ""
        return f"{loss}{_short(rate)} steps/s"

    def _print_line(self, state: TrainerState, now: float) -> None:
        left = (
            (state.max_steps - state.global_step) * (now - self._began) / max(state.global_step - self._first_step, 1)
        )
        share = 100 * state.global_step / max(state.max_steps, 1)
        where = f"step {state.global_step}/{state.max_steps} ({share:.0f} %)  epoch {state.epoch:.2f}"
        self._print(f"{where}  {self._text(state, now)}  {left:.0f} s left")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class PrinterCallback(TrainerCallback):
    """A line on the terminal for each log."""

    reports = True

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Print the values."""
        if state.is_local_process_zero:
            shown = {key: _short(value) if isinstance(value, float) else value for key, value in logs.items()}
            with contextlib.suppress(OSError, ValueError):  # its output is closed
                print(shown, flush=True)  # noqa: T201 - its purpose


class _Console(Console):
    """A console that falls silent when its output is closed, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


def _length(loader: Any) -> int | None:
    try:
        return len(loader)
    except TypeError:  # a DataLoader of a stream has a __len__ that raises
        return None


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
