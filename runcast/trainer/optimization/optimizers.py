"""The optimizer, its parameter groups, and the learning-rate schedules."""

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.optimization.adafactor import Adafactor
from runcast.trainer.settings.arguments import TrainingArguments

_log = logging.getLogger("runcast.trainer")


def make_optimizer(
    model: nn.Module, args: TrainingArguments, own: tuple[Any, dict[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """Make the optimizer that the arguments name, or of a class of one's own, with weight decay on matrices only.

    Raises:
        OptionError: No parameter is to be trained, or `optim_args` does not suit the optimizer.
    """
    groups = decay_groups(model, args.weight_decay)
    if own is not None:
        kind, settings = own
        return kind(groups, **settings)
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
        return classes[args.optim](groups, **{"lr": args.learning_rate, **args.mapping("optim_args")})
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
    """Split the parameters that are trained into matrices, with weight decay, and others (biases, norms), without."""
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
