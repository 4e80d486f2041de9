"""Callbacks that stop a training: it no longer improves, or it has diverged."""

import math
from pathlib import Path
from typing import Any

from runcast.callbacks.host import open_runs, recall, remember
from runcast.callbacks.monitor import Monitor, needs_evaluation, number
from runcast.callbacks.outputs import in_every_process
from runcast.core.errors import OptionError
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState
from runcast.redaction.console import say, warn

REASON = "stopped_early"


class EarlyStoppingCallback(TrainerCallback):
    """A callback that stops the training when an evaluation metric has stopped improving.

    `reason` says why it did; so do a line at the end, "stopped_early" in `state.log_history` and in the summary of the
    run, and the message of `NotifyCallback`.

    Args:
        early_stopping_patience: Evaluations without an improvement after which the training stops.
        early_stopping_threshold: What an improvement must exceed.
        metric: The metric; by default metric_for_best_model, else the loss.
        greater_is_better: Its direction; by default the arguments', else as the name says.
        divergence_limit: A value on the wrong side of this stops the training at once.
        check_finite: Whether NaN or an infinity stops it at once.
        restore_best: Whether the weights of the best evaluation are put back at the end. They are kept in the host's
            memory; after a resume they are read from the checkpoint of that step, if there is one.
    """

    def __init__(
        self,
        early_stopping_patience: int = 1,
        early_stopping_threshold: float = 0.0,
        *,
        metric: str | None = None,
        greater_is_better: bool | None = None,
        divergence_limit: float | None = None,
        check_finite: bool = True,
        restore_best: bool = False,
    ) -> None:
        if early_stopping_patience < 1:
            raise OptionError(
                f"early_stopping_patience={early_stopping_patience} must be a number of evaluations, 1 or more."
            )
        self.reason: str | None = None
        self.best: float | None = None
        self.best_step: int | None = None
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_patience_counter = 0
        self._monitor = Monitor(metric, greater_is_better, early_stopping_threshold)
        self._limit = divergence_limit
        self._check_finite = check_finite
        self._restore_best = restore_best
        self._weights: dict[str, Any] | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check that there is something to watch, and begin to count."""
        needs_evaluation(args, "EarlyStoppingCallback")
        if state.global_step == 0:
            self.best, self.best_step, self.early_stopping_patience_counter, self._weights = None, None, 0, None
        else:
            recall(self, state, self._monitor.name(args))
        self.reason = None

    def on_evaluate(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any],
        model: Any = None,
        **kwargs: Any,
    ) -> Control:
        """Compare the metric with the best one."""
        if state.global_step == 0 or not self._monitor.concerns(args, metrics):
            return control
        value = self._monitor.value(args, metrics)
        name = self._monitor.name(args)
        if self._check_finite and value is not None and not math.isfinite(value):
            self.reason = f"{name} is {value}"
        elif self._limit is not None and value is not None and self._monitor.is_worse_than(args, value, self._limit):
            self.reason = f"{name} is {value:.4g}, beyond the limit of {self._limit:g}"
        else:
            self.check_metric_value(args, state, control, value)
            if self._restore_best and model is not None and self.best_step == state.global_step:
                self._weights = {
                    key: tensor.detach().to("cpu", copy=True) if hasattr(tensor, "detach") else tensor
                    for key, tensor in model.state_dict().items()
                }
            if self.early_stopping_patience_counter >= self.early_stopping_patience:
                best = "any number" if self.best is None else f"{self.best:.4g}"
                count = self.early_stopping_patience_counter
                self.reason = f"{name} has not improved on {best} in {count} evaluations"
        if self.reason is not None:
            control.should_training_stop = True
        remember(self, state, name)
        return control

    def check_metric_value(self, args: Any, state: TrainerState, control: TrainerControl, metric_value: Any) -> None:
        """Count an evaluation that is no better than the best one; a better one begins the count anew."""
        if self._monitor.is_better(args, metric_value, self.best):
            self.best, self.best_step, self.early_stopping_patience_counter = metric_value, state.global_step, 0
        else:
            self.early_stopping_patience_counter += 1

    @property
    def waited(self) -> int:
        """The evaluations since the best one."""
        return self.early_stopping_patience_counter

    @waited.setter
    def waited(self, value: int) -> None:  # of a checkpoint of version 0.1
        self.early_stopping_patience_counter = value

    @property
    def early_stopping_threshold(self) -> float:
        """What an improvement must exceed."""
        return self._monitor.threshold

    @early_stopping_threshold.setter
    def early_stopping_threshold(self, value: float) -> None:
        self._monitor.threshold = value

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Say why the training stopped, and put the best weights back."""
        if self.reason is not None:
            note_reason(state, self.reason, kwargs.get("callback_handler"))
        elif self.best is None and state.global_step and state.is_world_process_zero:
            warn(f"EarlyStoppingCallback has seen no {self._monitor.name(args)}, so it could not stop the training.")
        if self._restore_best and self.best_step not in (None, state.global_step) and model is not None:
            self._restore(args, state, model)
        self._weights = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        made, names = ("patience", "threshold"), ("best", "best_step", "early_stopping_patience_counter", "reason")
        return {
            "args": {f"early_stopping_{name}": getattr(self, f"early_stopping_{name}") for name in made},
            "attributes": {name: getattr(self, name) for name in names},
        }

    def _restore(self, args: Any, state: TrainerState, model: Any) -> None:
        file = Path(args.output_dir) / f"checkpoint-{self.best_step}" / "model.safetensors"
        if not in_every_process(self._weights is not None or file.is_file()):
            if state.is_world_process_zero:
                warn(
                    f"the best weights, of step {self.best_step}, are from before the training was resumed and not "
                    f"every process finds {file}. The model keeps its last ones."
                )
        elif self._weights is not None:
            model.load_state_dict(self._weights)
        else:
            from safetensors.torch import load_model

            load_model(model, str(file), device=str(next(model.parameters()).device))


class TerminateOnNaNCallback(TrainerCallback):
    """A callback that stops the training when a logged loss is NaN or infinite.

    "stopped_early" in `state.log_history` and in the summary of the run says which.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self.reason = None

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Look at the losses."""
        for name, value in logs.items():
            loss = number(logs, name) if name.endswith("loss") and value is not None else None
            if self.reason is None and loss is not None and not math.isfinite(loss):
                control.should_training_stop = True
                self.reason = f"{name} is {loss}"
                note_reason(state, self.reason, kwargs.get("callback_handler"))
        return control


def note_reason(state: TrainerState, reason: str, callback_handler: Any) -> None:
    """Record the reason for stopping in the history and in the summary of the run, and print it."""
    state.log_history.append({REASON: reason, "step": state.global_step, "epoch": state.epoch})
    if state.is_world_process_zero:
        say(f"the training stopped early at step {state.global_step}: {reason}.")
        for run in open_runs(None, callback_handler):
            run.log_summary({REASON: reason})


def reason_of(state: TrainerState) -> str | None:
    """Find the reason why a training stopped early; None if there is none."""
    return next((entry[REASON] for entry in reversed(state.log_history) if REASON in entry), None)
