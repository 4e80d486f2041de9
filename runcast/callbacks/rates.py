"""Callbacks about the learning rate: lower it when a metric stalls, log it for each group of parameters."""

from typing import Any

from runcast.callbacks.monitor import Monitor, needs_evaluation
from runcast.core.console import say
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState


class ReduceLROnPlateauCallback(TrainerCallback):
    """Multiplies the learning rate by a factor when a metric has not improved for a while, whatever the schedule.

    Args:
        factor: What the learning rate is multiplied by.
        patience: Evaluations without an improvement after which it is.
        cooldown: Evaluations after that in which nothing is counted.
        min_lr: The peak learning rate does not fall below this.
        threshold: What an improvement must exceed.
        metric: The metric; by default metric_for_best_model, else the loss.
        greater_is_better: Its direction; by default the arguments', else as the name says.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        *,
        cooldown: int = 0,
        min_lr: float = 0.0,
        threshold: float = 0.0,
        metric: str | None = None,
        greater_is_better: bool | None = None,
    ) -> None:
        self.best: float | None = None
        self.waited = self.cooling = self.reductions = 0
        self._factor, self._patience, self._cooldown, self._min_lr = factor, patience, cooldown, min_lr
        self._monitor = Monitor(metric, greater_is_better, threshold)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check that there is something to watch."""
        needs_evaluation(args, "ReduceLROnPlateauCallback")

    def on_evaluate(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any],
        optimizer: Any = None,
        lr_scheduler: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compare the metric with the best one."""
        value = self._monitor.value(args, metrics)
        if self._monitor.is_better(args, value, self.best):
            self.best, self.waited = value, 0
        elif self.cooling == 0:
            self.waited += 1
        self.cooling = max(0, self.cooling - 1)
        if self.waited >= self._patience and optimizer is not None:
            self._reduce(state, optimizer, lr_scheduler)
            self.waited, self.cooling = 0, self._cooldown

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the learning rate itself is in the optimizer's and the schedule's state."""
        names = ("best", "waited", "cooling", "reductions")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in names}}

    def _reduce(self, state: TrainerState, optimizer: Any, lr_scheduler: Any) -> None:
        bases = getattr(lr_scheduler, "base_lrs", None)
        for index, group in enumerate(optimizer.param_groups):
            base = bases[index] if bases else group.get("initial_lr", group["lr"])
            factor = max(self._factor, min(1.0, self._min_lr / base)) if base else 1.0
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
            if bases:  # a schedule computes each rate anew, from its base
                bases[index] = base * factor
        self.reductions += 1
        if state.is_world_process_zero:
            name = self._monitor.metric or "the metric"
            say(
                f"the learning rate is {optimizer.param_groups[0]['lr']:.3g} from step {state.global_step} on, as "
                f"{name} has not improved."
            )


class LearningRateCallback(TrainerCallback):
    """Adds the learning rate (and momentum) of each group of parameters to what is logged.

    The keys are learning_rate/<group>, by the group's "name" or its number. Add it before the callbacks that should see
    them.
    """

    def __init__(self, momentum: bool = False) -> None:
        self._momentum = momentum

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Add the values to a log of the training."""
        if optimizer is None or "loss" not in logs:
            return
        for index, group in enumerate(optimizer.param_groups):
            name = group.get("name", index)
            logs[f"learning_rate/{name}"] = float(group["lr"])
            if self._momentum and ("momentum" in group or "betas" in group):
                logs[f"momentum/{name}"] = float(group["momentum"] if "momentum" in group else group["betas"][0])
