"""The learning-rate schedules that the arguments name."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments


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
