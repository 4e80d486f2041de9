"""Changes to a model's forward pass that settings ask for: activation checkpointing, noise on embeddings."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from runcast.core.errors import OptionError
from runcast.trainer.ranks.sharding import blocks_of
from runcast.trainer.settings.arguments import TrainingArguments


def checkpoint_activations(model: nn.Module, args: TrainingArguments) -> None:
    """Let the backward pass compute again what happens inside the blocks of a model.

    A model of transformers has a way of its own. Of any other, the blocks are those that FSDP would gather by
    themselves.

    Raises:
        OptionError: The model has no blocks.
    """
    settings = args.mapping("activation_checkpointing_kwargs") or args.mapping("gradient_checkpointing_kwargs")
    if hasattr(model, "gradient_checkpointing_enable"):
        model.gradient_checkpointing_enable(**({"gradient_checkpointing_kwargs": settings} if settings else {}))
        return
    blocks = blocks_of(model, args.mapping("fsdp_config"))
    if not blocks:
        raise OptionError(
            f"gradient_checkpointing=True, but {type(model).__name__} has no blocks to compute again: put them in an "
            "nn.ModuleList, or give it a method gradient_checkpointing_enable."
        )
    for block in blocks:
        block.forward = _recomputed(block, {"use_reentrant": False, **settings})


def _recomputed(block: nn.Module, settings: dict[str, Any]) -> Any:
    forward = block.forward

    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not (block.training and torch.is_grad_enabled()):
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, **kwargs, **settings)

    return recomputed


def add_embedding_noise(model: nn.Module, alpha: float) -> None:
    """Add uniform noise of the size α / √(tokens · width) to the embeddings of the input, while training (NEFTune).

    Raises:
        OptionError: The model does not say which embeddings these are.
    """
    if not hasattr(model, "get_input_embeddings"):
        raise OptionError(f"neftune_noise_alpha is given, but {type(model).__name__} has no get_input_embeddings.")

    def add_noise(module: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return output
        size = alpha / (output.size(1) * output.size(2)) ** 0.5
        return output + torch.zeros_like(output).uniform_(-size, size)

    model.get_input_embeddings().register_forward_hook(add_noise)
