"""Callbacks that stop a training: it no longer improves, or it has diverged."""

import math
from typing import Any

from runcast.callbacks.monitor import Monitor, needs_evaluation
from runcast.core.console import say
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState


class EarlyStoppingCallback(TrainerCallback):
    """Stops the training when a metric of the evaluation has not improved for a while; `reason` says why it did.

    Args:
        early_stopping_patience: Evaluations without an improvement after which the training stops.
        early_stopping_threshold: What an improvement must exceed.
        metric: The metric; by default metric_for_best_model, else the loss.
        greater_is_better: Its direction; by default the arguments', else as the name says.
        divergence_limit: A value on the wrong side of this stops the training at once.
        check_finite: Whether NaN or an infinity stops it at once.
        restore_best: Whether the weights of the best evaluation are put back at the end; they are kept in the host's
            memory.
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
        self.reason: str | None = None
        self.best: float | None = None
        self.waited = 0
        self._patience = early_stopping_patience
        self._monitor = Monitor(metric, greater_is_better, early_stopping_threshold)
        self._limit = divergence_limit
        self._check_finite = check_finite
        self._restore_best = restore_best
        self._weights: dict[str, Any] | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check that there is something to watch."""
        needs_evaluation(args, "EarlyStoppingCallback")
        self.reason = None
        if state.global_step == 0:
            self.best, self.waited, self._weights = None, 0, None

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
        if state.global_step == 0:
            return control
        value = self._monitor.value(args, metrics)
        name = self._monitor.name(args)
        if self._check_finite and not math.isfinite(value):
            self.reason = f"{name} is {value}"
        elif self._limit is not None and self._monitor.is_worse_than(args, value, self._limit):
            self.reason = f"{name} is {value:.4g}, beyond the limit of {self._limit:g}"
        elif self._monitor.is_better(args, value, self.best):
            self.best, self.waited = value, 0
            if self._restore_best and model is not None:
                self._weights = {
                    key: tensor.detach().to("cpu", copy=True) for key, tensor in model.state_dict().items()
                }
        else:
            self.waited += 1
            if self.waited >= self._patience:
                self.reason = f"{name} has not improved on {self.best:.4g} in {self.waited} evaluations"
        if self.reason is not None:
            control.should_training_stop = True
        return control

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Say why the training stopped, and put the best weights back."""
        if self.reason is not None and state.is_world_process_zero:
            say(f"the training stopped early at step {state.global_step}: {self.reason}.")
        if self._weights is not None and model is not None:
            model.load_state_dict(self._weights)
            self._weights = None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"args": {}, "attributes": {"best": self.best, "waited": self.waited}}


class TerminateOnNaNCallback(TrainerCallback):
    """Stops the training when a logged loss is NaN or infinite."""

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Look at the losses."""
        for name, value in logs.items():
            if name.endswith("loss") and not math.isfinite(float(value)):
                control.should_training_stop = True
                if state.is_world_process_zero:
                    say(f"the training stopped at step {state.global_step}: {name} is {value}.")
        return control
