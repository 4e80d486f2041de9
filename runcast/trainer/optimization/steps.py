"""An optimizer step: clip, step, schedule, and the values to log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runcast.trainer.optimization.own import check_length, rate_of, set_mode, step_by_metric, steps_by_metric
from runcast.trainer.settings.arguments import TrainingArguments


class Optimization:
    """The optimizer, its schedule and the scale of the loss, stepped together.

    `grad_norm` and `skipped` stay on the device: reading them waits for it. `learning_rate` is that of the last step.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        max_steps: int,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        *,
        device: torch.device,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.optimizer, self.scheduler = optimizer, scheduler
        check_length(self.scheduler, max_steps)
        self.scaler = scaler
        self.learning_rate: Any = args.learning_rate
        self.grad_norm: torch.Tensor | None = None
        self.skipped = torch.zeros((), device=device)  # steps without a step of the optimizer: infinite gradients
        self._args = args
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._steps_by_metric = steps_by_metric(self.scheduler)
        self._was_stepped = True
        self._has_modes = hasattr(optimizer, "train") and hasattr(optimizer, "eval")

    def set_mode(self, name: str) -> None:
        """Put an optimizer that has modes, "train" and "eval", into one of them."""
        if self._has_modes:
            set_mode(self.optimizer, name)

    def clip_gradients(self) -> None:
        """Take the scale out of the gradients, for the callbacks too, and clip them."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        limit = self._args.max_grad_norm
        if limit > 0:
            self.grad_norm = nn.utils.clip_grad_norm_(self._parameters, limit)

    def step(self) -> None:
        """Change the weights; with a scaled loss only if all gradients are finite."""
        if self.scaler is None:
            self.optimizer.step()
            return
        self._was_stepped = False
        handle = self.optimizer.register_step_post_hook(self._note_step)
        try:
            self.scaler.step(self.optimizer)
        finally:
            handle.remove()
        self.scaler.update()
        if not self._was_stepped:
            self.skipped += 1

    def schedule(self) -> None:
        """Go on to the learning rate of the next step."""
        self.learning_rate = rate_of(self.optimizer.param_groups[0])
        if self._was_stepped and not self._steps_by_metric:
            self.scheduler.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def note_evaluation(self, metrics: Mapping[str, Any]) -> None:
        """Step a schedule that goes by a metric of the evaluation."""
        if self._steps_by_metric:
            step_by_metric(self.scheduler, self._args, metrics)

    def stateful(self) -> dict[str, Any]:
        """Name the parts with a state of their own."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts if self.scaler is None else parts | {"scaler": self.scaler}

    def _note_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._was_stepped = True
        if (found := getattr(optimizer, "found_inf", None)) is not None:  # a fused one decides on the device
            self.skipped += found.to(self.skipped).reshape(())
