"""Adafactor (Shazeer and Stern, 2018) with a learning rate from outside, as transformers' Trainer uses it.

`torch.optim.Adafactor` is another variant: it scales the learning rate by each weight's size and bounds it by the step.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Adafactor(torch.optim.Optimizer):  # type: ignore[misc]
    """An optimizer that keeps, of the squared gradients of a matrix, only the mean of each row and each column.

    Args:
        params: Parameters, or groups of them.
        lr: The learning rate.
        eps: Added to the squared gradient.
        clip_threshold: The root mean square to which an update is scaled down.
        decay_rate: The exponent with which the average of squared gradients forgets: 1 - step ** decay_rate.
        beta1: The decay of a moving average of the updates; None keeps none.
        weight_decay: Times the learning rate, the share of each weight that is taken off at a step.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        eps: float = 1e-30,
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: float | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "eps": eps, "clip_threshold": clip_threshold, "decay_rate": decay_rate, "beta1": beta1}
        super().__init__(params, {**defaults, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the weights once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._change(weight, group)
        return loss

    def _change(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        assert weight.grad is not None
        gradient = weight.grad.float() if weight.grad.dtype in (torch.float16, torch.bfloat16) else weight.grad
        state = self.state[weight]
        if not state:
            state["step"] = torch.tensor(0.0)
            if gradient.ndim >= 2:
                state["rows"] = torch.zeros_like(gradient[..., 0])
                state["columns"] = torch.zeros_like(gradient[..., 0, :])
            else:
                state["squares"] = torch.zeros_like(gradient)
            if group["beta1"] is not None:
                state["average"] = torch.zeros_like(gradient)
        state["step"] += 1
        share = float(state["step"]) ** group["decay_rate"]
        squares = gradient.square() + group["eps"]
        if gradient.ndim >= 2:
            rows, columns = state["rows"], state["columns"]
            rows.lerp_(squares.mean(dim=-1), share)
            columns.lerp_(squares.mean(dim=-2), share)
            row_factor = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt()
            update = row_factor.unsqueeze(-1) * columns.rsqrt().unsqueeze(-2) * gradient
        else:
            update = state["squares"].lerp_(squares, share).rsqrt() * gradient
        size = update.square().mean().sqrt()
        update = update * (group["lr"] / (size / group["clip_threshold"]).clamp(min=1.0))
        if group["beta1"] is not None:
            update = state["average"].lerp_(update, 1 - group["beta1"])
        weight.mul_(1 - group["weight_decay"] * group["lr"])
        weight.sub_(update.to(weight.dtype))
