"""Callbacks about the learning rate: lower it when a metric stalls, log it for each group of parameters."""

from collections.abc import Iterator
from typing import Any

from runcast.callbacks.host import recall, remember
from runcast.callbacks.monitor import Monitor, needs_evaluation
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.redaction.console import say


class ReduceLROnPlateauCallback(TrainerCallback):
    """A callback that multiplies the learning rate by a factor when a metric has stopped improving.

    If a schedule changes the rate as well, all its later rates are multiplied. A resumed training continues
    with the lower rate.

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
        if not 0 < factor < 1:
            raise OptionError(f"factor={factor} does not lower a learning rate. It must be between 0 and 1.")
        self.best: float | None = None
        self.waited = self.cooling = self.reductions = 0
        self._factor, self._patience, self._cooldown, self._min_lr = factor, patience, cooldown, min_lr
        self._monitor = Monitor(metric, greater_is_better, threshold)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check that there is something to watch, and begin to count."""
        needs_evaluation(args, "ReduceLROnPlateauCallback")
        if state.global_step == 0:
            self.best, self.waited, self.cooling, self.reductions = None, 0, 0, 0
        else:
            recall(self, state, self._monitor.name(args))

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
        if not self._monitor.concerns(args, metrics):
            return
        value = self._monitor.value(args, metrics)
        if self._monitor.is_better(args, value, self.best):
            self.best, self.waited = value, 0
        elif self.cooling == 0:
            self.waited += 1
        self.cooling = max(0, self.cooling - 1)
        if self.waited >= self._patience and optimizer is not None:
            self._reduce(args, state, optimizer, lr_scheduler)
            self.waited, self.cooling = 0, self._cooldown
        remember(self, state, self._monitor.name(args))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps; the learning rate itself is in the optimizer's and the schedule's state."""
        names = ("best", "waited", "cooling", "reductions")
        return {"args": {}, "attributes": {name: getattr(self, name) for name in names}}

    def _reduce(self, args: Any, state: TrainerState, optimizer: Any, lr_scheduler: Any) -> None:
        schedules = list(_schedules(lr_scheduler))
        for index, group in enumerate(optimizer.param_groups):
            base = schedules[0].base_lrs[index] if schedules else group.get("initial_lr", group["lr"])
            factor = max(self._factor, min(1.0, self._min_lr / float(base))) if base else 1.0
            group["lr"] *= factor
            for name in ("initial_lr", "max_lr", "min_lr"):  # OneCycleLR keeps its range in the group
                if name in group:
                    group[name] *= factor
            for schedule in schedules:  # each recomputes a rate from its base
                for rates in (schedule.base_lrs, getattr(schedule, "max_lrs", None)):
                    if rates is not None:
                        rates[index] *= factor
        self.reductions += 1
        if state.is_world_process_zero:
            say(
                f"the learning rate is {float(optimizer.param_groups[0]['lr']):.3g} from step {state.global_step} on, "
                f"as {self._monitor.name(args)} has not improved."
            )


def _schedules(schedule: Any) -> Iterator[Any]:
    """List the schedules that have a base for each group: one, those that it is put together of, the one inside it."""
    if schedule is None:
        return
    if getattr(schedule, "base_lrs", None):
        yield schedule
    for part in (*getattr(schedule, "_schedulers", ()), getattr(schedule, "scheduler", None)):
        yield from _schedules(part)


class LearningRateCallback(TrainerCallback):
    """A callback that adds the learning rate (and momentum) of each parameter group to the logs.

    The keys are learning_rate/<group>, by the group's "name" or its number. Add it before the callbacks that should see
    them.
    """

    def __init__(self, momentum: bool = False) -> None:
        self._momentum = momentum
        self._used: dict[str, Any] = {}

    def on_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, optimizer: Any = None, **kwargs: Any
    ) -> None:
        """Note the rates of this step, before the schedule advances."""
        if optimizer is not None:
            self._note(optimizer)

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
        if "loss" not in logs:
            return
        if not self._used and optimizer is not None:  # a trainer without the event above
            self._note(optimizer)
        logs.update({name: float(value) for name, value in self._used.items()})
        self._used = {}

    def _note(self, optimizer: Any) -> None:
        self._used = {}
        for index, group in enumerate(optimizer.param_groups):
            name = group.get("name", index)
            self._used[f"learning_rate/{name}"] = _copied(group["lr"])
            if self._momentum and ("momentum" in group or "betas" in group):
                momentum = group["momentum"] if "momentum" in group else group["betas"][0]
                self._used[f"momentum/{name}"] = _copied(momentum)


def _copied(value: Any) -> Any:
    """Copy a rate that is a tensor: a schedule changes it in place."""
    return value.detach().clone() if hasattr(value, "detach") else value
