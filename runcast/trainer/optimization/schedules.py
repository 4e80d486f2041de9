"""The learning-rate schedules that the arguments name."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from runcast.callbacks.monitor import Monitor
from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments


def make_scheduler(
    optimizer: torch.optim.Optimizer, args: TrainingArguments, max_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Make the schedule that the arguments name: warm-up from 0, then the decay."""
    warmup = args.get_warmup_steps(max_steps)
    settings = args.mapping("lr_scheduler_kwargs")
    try:
        if args.lr_scheduler_type == "reduce_lr_on_plateau":
            mode = "max" if Monitor().wants_more(args) else "min"
            return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **{"mode": mode, **settings})
        whole = args.learning_rate or 1.0  # of a rate of 0, for a try, all shares are 0
        if "min_lr" in settings:
            settings["min_lr_rate"] = settings.pop("min_lr") / whole
        if args.lr_scheduler_type == "polynomial":
            settings["lr_end"] = settings.get("lr_end", 1e-7) / whole
        factor = partial(_FACTORS[args.lr_scheduler_type], warmup=warmup, total=max_steps, **settings)
        factor(max_steps)
    except (TypeError, KeyError) as error:
        raise OptionError(
            f"lr_scheduler_kwargs={args.lr_scheduler_kwargs!r} does not suit {args.lr_scheduler_type!r}: {error}."
        ) from None
    rise = 0 if args.lr_scheduler_type in ("constant", "warmup_stable_decay") else warmup
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: step / rise if step < rise else factor(step))


def _progress(step: int, warmup: int, total: int) -> float:
    return min(1.0, (step - warmup) / max(1, total - warmup))


def _linear(step: int, *, warmup: int, total: int) -> float:
    return 1.0 - _progress(step, warmup, total)


def _cosine(step: int, *, warmup: int, total: int, num_cycles: float = 0.5, min_lr_rate: float = 0.0) -> float:
    wave = 0.5 * (1.0 + math.cos(math.pi * num_cycles * 2.0 * _progress(step, warmup, total)))
    return max(0.0, wave * (1.0 - min_lr_rate) + min_lr_rate)


def _restarts(step: int, *, warmup: int, total: int, num_cycles: int = 1) -> float:
    done = _progress(step, warmup, total)
    return 0.0 if done >= 1.0 else 0.5 * (1.0 + math.cos(math.pi * ((num_cycles * done) % 1.0)))


def _stable(
    step: int,
    *,
    warmup: int,
    total: int,
    num_decay_steps: int,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0.0,
    num_cycles: float = 0.5,
) -> float:
    """Rise, stay, and fall, each in so many steps and in a shape of its own."""
    stable = total - warmup - num_decay_steps if num_stable_steps is None else num_stable_steps
    left = warmup + stable + num_decay_steps - step
    if step < warmup:
        shape = _SHAPES[warmup_type](step / warmup, 0.5)
    elif step < warmup + stable:
        return 1.0
    else:
        done = 1.0 - left / max(1, num_decay_steps)
        shape = 0.0 if left <= 0 else _fall(decay_type, done, num_cycles)
    return max(0.0, shape * (1.0 - min_lr_ratio) + min_lr_ratio)


def _fall(kind: str, done: float, cycles: float) -> float:
    if kind == "1-sqrt":
        return 1.0 - math.sqrt(done)
    return 1.0 - _SHAPES[kind](done, cycles)


_SHAPES: Mapping[str, Callable[[float, float], float]] = {
    "linear": lambda done, _: done,
    "cosine": lambda done, cycles: 0.5 * (1.0 - math.cos(math.pi * cycles * 2.0 * done)),
    "1-sqrt": lambda done, _: 1.0 - math.sqrt(1.0 - done),
}


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
    "cosine_with_restarts": _restarts,
    "cosine_with_min_lr": _cosine,
    "warmup_stable_decay": _stable,
}
