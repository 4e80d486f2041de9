"""The optimizer and the schedule that a user brings: what they must be, and how they are stepped."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from runcast.callbacks.monitor import Monitor, reported
from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments

_METHODS = ("step", "state_dict", "load_state_dict")


def check_own(optimizers: Any, args: TrainingArguments) -> tuple[Any, Any]:
    """Check the user's own optimizer and schedule before the training; return them, or None.

    Raises:
        OptionError: It cannot be used; the message says why, and what can.
    """
    if not isinstance(optimizers, tuple | list) or len(optimizers) != 2:
        raise OptionError(
            f"optimizers is {_kind(optimizers)}. Give a pair: optimizers=(optimizer, schedule), with None for the one "
            "that the arguments name."
        )
    optimizer, scheduler = optimizers
    if optimizer is not None:
        if isinstance(optimizer, type) or not hasattr(optimizer, "param_groups") or _missing(optimizer):
            raise OptionError(
                f"optimizers[0] is {_kind(optimizer)}, not an optimizer. Give one that is made of the model's "
                "parameters: torch.optim.SGD(model.parameters(), lr=0.1)."
            )
        if _wanted(optimizer):
            raise OptionError(
                f"{type(optimizer).__name__} needs a closure, as it computes the loss several times in a step. The "
                "Trainer computes it once. Choose another optimizer, or write the loop by hand with runcast.init()."
            )
    if scheduler is None:
        return optimizer, None
    if isinstance(scheduler, type) or _missing(scheduler):
        raise OptionError(
            f"optimizers[1] is {_kind(scheduler)}, not a schedule. Give one that is made of the optimizer: "
            "torch.optim.lr_scheduler.StepLR(optimizer, 100)."
        )
    groups = {id(group) for group in getattr(optimizer, "param_groups", ())}
    theirs = getattr(getattr(scheduler, "optimizer", None), "param_groups", None)
    if optimizer is None or (theirs is not None and not any(id(group) in groups for group in theirs)):
        raise OptionError(
            f"The schedule {type(scheduler).__name__} would change the learning rate of an optimizer that does not "
            "train. Give the Trainer both: optimizers=(optimizer, scheduler), the schedule made of that optimizer."
        )
    if steps_by_metric(scheduler):
        _check_metric(scheduler, args)
    elif _wanted(scheduler):
        raise OptionError(
            f"The schedule {type(scheduler).__name__} wants {', '.join(_wanted(scheduler))} at each step, "
            "which the Trainer does not give. Give one whose step() needs nothing: it follows each optimizer step."
        )
    return optimizer, scheduler


def check_sparse(model: nn.Module, optimizer: Any, args: TrainingArguments) -> None:
    """Check that sparse gradients, which an embedding may have, meet nothing that cannot take them.

    Raises:
        OptionError: They would be clipped, or the optimizer that the arguments name does not support them.
    """
    sparse = [name for name, part in model.named_modules() if getattr(part, "sparse", False) and _is_trained(part)]
    if sparse and args.max_grad_norm > 0:
        raise OptionError(
            f"The gradients of {sparse[0]!r} are sparse, and torch cannot clip those. Set max_grad_norm=0, or make the "
            "embedding with sparse=False."
        )
    if sparse and optimizer is None and args.optim != "sgd":
        raise OptionError(
            f"The gradients of {sparse[0]!r} are sparse, which optim={args.optim!r} does not support. Use optim='sgd', "
            "or give an optimizer of your own, such as torch.optim.SparseAdam."
        )


def _is_trained(part: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in part.parameters(recurse=False))


def _check_metric(scheduler: Any, args: TrainingArguments) -> None:
    name, kind = Monitor().wanted(args), type(scheduler).__name__
    if args.eval_strategy == "no":
        raise OptionError(
            f"{kind} goes by {name!r} of the evaluation, but eval_strategy is 'no'. Set it to 'steps' or 'epoch'."
        )
    mode = "max" if Monitor().wants_more(args) else "min"
    if getattr(scheduler, "mode", mode) != mode:
        raise OptionError(
            f"{kind} has mode={scheduler.mode!r}, but a {'greater' if mode == 'max' else 'smaller'} {name!r} is "
            f"better. Make it with mode={mode!r}, or set metric_for_best_model and greater_is_better."
        )


def check_length(scheduler: Any, steps: int) -> None:
    """Check that a schedule with an end (OneCycleLR) lasts as long as the training, also as a part of another one.

    Raises:
        OptionError: It does not, and would raise in the middle of the training.
    """
    total = getattr(scheduler, "total_steps", None)
    if isinstance(total, int) and total < steps:
        raise OptionError(
            f"{type(scheduler).__name__} has total_steps={total}, but is stepped {steps} times in this training, and "
            f"would raise then. Make it with total_steps={steps}."
        )
    parts = list(getattr(scheduler, "_schedulers", ()))
    milestones = list(getattr(scheduler, "_milestones", ()))
    for index, part in enumerate(parts):
        begin = milestones[index - 1] if milestones and index else 0
        end = milestones[index] if index < len(milestones) else steps
        check_length(part, max(0, min(end, steps) - begin))


def steps_by_metric(scheduler: Any) -> bool:
    """Return whether a schedule wants a metric at each of its steps, as ReduceLROnPlateau does."""
    return isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)


def step_by_metric(scheduler: Any, args: TrainingArguments, metrics: Mapping[str, Any]) -> None:
    """Step a schedule by the metric of an evaluation; one that is not a number is passed over.

    Raises:
        OptionError: The evaluation does not report it.
    """
    name = Monitor().wanted(args)
    if reported(name, metrics) is None:
        raise OptionError(
            f"{type(scheduler).__name__} goes by {name!r}, but the evaluation has only: {', '.join(sorted(metrics))}. "
            "Set metric_for_best_model."
        )
    value = Monitor().value(args, metrics)
    if value is not None:
        scheduler.step(value)


def set_mode(optimizer: Any, name: str) -> None:
    """Call `train()` or `eval()` of an optimizer that has it: one without a schedule has other weights to evaluate."""
    method = getattr(optimizer, name, None)
    if callable(method):
        method()


def rate_of(group: Mapping[str, Any]) -> Any:
    """Return the learning rate of a group as it is now; a tensor, which a schedule changes in place, is copied."""
    rate = group.get("lr", 0.0)
    return rate.detach().clone() if isinstance(rate, torch.Tensor) else rate


def _missing(part: Any) -> bool:
    return not all(callable(getattr(part, name, None)) for name in _METHODS)


def _kind(part: Any) -> str:
    return f"the class {part.__name__}" if isinstance(part, type) else f"a {type(part).__name__}"


def _wanted(part: Any) -> list[str]:
    """List what a step wants and has no default for; of the class, as a schedule puts a wrapper into the instance."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    _, *parameters = inspect.signature(type(part).step).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]
