"""The optimizer, its parameter groups, and the learning-rate schedules."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.adafactor import Adafactor
from runcast.trainer.arguments import TrainingArguments

_log = logging.getLogger("runcast.trainer")


def make_optimizer(model: nn.Module, args: TrainingArguments) -> torch.optim.Optimizer:
    """Make the optimizer that the arguments name, with weight decay on matrices only.

    Raises:
        OptionError: No parameter is to be trained, or `optim_args` does not suit the optimizer.
    """
    groups = decay_groups(model, args.weight_decay)
    adam: dict[str, Any] = {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adamw_torch_fused": partial(torch.optim.AdamW, fused=_can_fuse(groups), **adam),
        "adamw_torch": partial(torch.optim.AdamW, **adam),
        "adam": partial(torch.optim.Adam, **adam),
        "sgd": torch.optim.SGD,
        "rmsprop": torch.optim.RMSprop,
        "adafactor": Adafactor,
    }
    try:
        return classes[args.optim](groups, **{"lr": args.learning_rate, **(args.optim_args or {})})
    except (TypeError, ValueError) as error:
        raise OptionError(f"optim_args={args.optim_args!r} does not suit optim={args.optim!r}: {error}.") from error


def belongs_to(optimizer: torch.optim.Optimizer | None, model: nn.Module) -> torch.optim.Optimizer | None:
    """Return the optimizer, if it would change this model; warn where it would change a part of it only.

    Raises:
        OptionError: It holds none of the model's parameters.
    """
    if optimizer is None:
        return None
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not any(id(parameter) in held for parameter in model.parameters()):
        raise OptionError(
            "The optimizer has none of the model's parameters, so it would train nothing. Make it of the model that "
            "the Trainer is given; with fsdp=True, let the arguments name it, as sharding makes new parameters."
        )
    left = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and id(parameter) not in held
    ]
    if left:
        _log.warning(
            "%d parameters are in no group of the optimizer and stay as they are, the first is %s. If that is meant, "
            "requires_grad_(False) saves their gradients.",
            len(left),
            left[0],
        )
    return optimizer


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split the parameters that are trained into those with weight decay and those without (biases, normalisation.

    Fewer than two dimensions).
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise OptionError(
            "No parameter of the model requires a gradient, so there is nothing to train. Unfreeze one: "
            "parameter.requires_grad_()"
        )
    if not weight_decay:  # one group: each costs the optimizer a launch at every step
        return [{"params": trained, "weight_decay": 0.0}]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _can_fuse(groups: Iterable[Mapping[str, Any]]) -> bool:
    kinds = {(p.device.type, p.dtype) for group in groups for p in group["params"]}
    return all(device in ("cuda", "cpu", "mps", "xpu") and dtype.is_floating_point for device, dtype in kinds)


def make_scheduler(
    optimizer: torch.optim.Optimizer, args: TrainingArguments, max_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Make the schedule that the arguments name: warm-up from 0, then the decay."""
    warmup = args.get_warmup_steps(max_steps)
    settings = dict(args.lr_scheduler_kwargs or {})
    try:
        if args.lr_scheduler_type == "polynomial":
            settings["lr_end"] = settings.get("lr_end", 1e-7) / args.learning_rate
        factor = partial(_FACTORS[args.lr_scheduler_type], warmup=warmup, total=max_steps, **settings)
        factor(max_steps)
    except TypeError as error:
        raise OptionError(
            f"lr_scheduler_kwargs={args.lr_scheduler_kwargs!r} does not suit {args.lr_scheduler_type!r}: {error}."
        ) from None
    rise = warmup if args.lr_scheduler_type != "constant" else 0
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / rise if step < rise else factor(step))


def _progress(step: int, warmup: int, total: int) -> float:
    return min(1.0, (step - warmup) / max(1, total - warmup))


def _linear(step: int, *, warmup: int, total: int) -> float:
    return 1.0 - _progress(step, warmup, total)


def _cosine(step: int, *, warmup: int, total: int, num_cycles: float = 0.5, min_lr_rate: float = 0.0) -> float:
    wave = 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * _progress(step, warmup, total)))
    return max(0.0, wave * (1.0 - min_lr_rate) + min_lr_rate)


def _polynomial(step: int, *, warmup: int, total: int, power: float = 1.0, lr_end: float = 0.0) -> float:
    return float((1.0 - lr_end) * (1.0 - _progress(step, warmup, total)) ** power + lr_end)


def _inverse_sqrt(step: int, *, warmup: int, timescale: int | None = None, **_: Any) -> float:
    scale = timescale or warmup or 10_000
    return 1.0 / math.sqrt((step + scale - warmup) / scale)


def _constant(_step: int, **_: Any) -> float:
    return 1.0


_FACTORS: Mapping[str, Callable[..., float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "polynomial": _polynomial,
    "constant": _constant,
    "constant_with_warmup": _constant,
    "inverse_sqrt": _inverse_sqrt,
}
