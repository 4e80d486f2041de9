"""The weights in a checkpoint."""

import copy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from runcast.callbacks.weights import uncompiled, whole_weights, write_weights
from runcast.core.errors import CheckpointError
from runcast.trainer.model.batch_reader import unwrapped
from runcast.trainer.ranks import sharding


def save_weights(weights: Mapping[str, torch.Tensor], folder: Path, *, are_gathered: bool = False) -> None:
    """Write weights by name; of those that are the same tensor, one. Of those that are gathered, none is.

    Raises:
        OSError: They cannot be written.
    """
    from safetensors import SafetensorError

    holder = SimpleNamespace(state_dict=lambda: dict(weights))  # save_model asks its module for nothing else
    try:
        write_weights(holder, dict(weights) if are_gathered else None, folder / "model.safetensors")
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"model.safetensors: {error}") from error


def save_whole(model: nn.Module, folder: Path, rank: int, processing_class: Any = None) -> None:
    """Write all weights, and what a transformers model needs beside them, from the first process.

    Of a model with adapters (PEFT) they alone are written. Every process calls it, as each has a part of a sharded
    model.
    """
    are_gathered = sharding.is_sharded(model)
    weights = whole_weights(model) if are_gathered else model.state_dict()
    if rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        if (adapted := _adapted(model)) is None:
            save_weights(weights, folder, are_gathered=are_gathered)
            save_config(model, folder, processing_class)
        else:
            adapted.save_pretrained(str(folder), **({"state_dict": weights} if are_gathered else {}))
            save_config(None, folder, processing_class)


def save_config(model: nn.Module | None, folder: Path, processing_class: Any = None) -> None:
    """Write what `from_pretrained(folder)` reads beside the weights: of transformers, or adapters of PEFT."""
    config: Any = copy.copy(getattr(model, "config", None))
    inner: Any = None if model is None else unwrapped(model)
    if hasattr(config, "architectures") and hasattr(inner, "save_pretrained"):  # which says the same of itself
        config.architectures = [type(inner).__name__.removeprefix("FSDP")]
        config.dtype = str(inner.dtype).removeprefix("torch.")
    parts: list[Any] = [config, getattr(model, "generation_config", None), processing_class]
    for part in parts:
        if hasattr(part, "save_pretrained"):
            part.save_pretrained(folder)
    if model is not None and not sharding.is_sharded(model) and (adapted := _adapted(model)) is not None:
        adapted.save_pretrained(str(folder))


def _adapted(model: nn.Module) -> Any:
    """Return the model, inside what compiles it, that writes its adapters itself; None where there are none."""
    inner = uncompiled(model)
    return inner if getattr(inner, "peft_config", None) and hasattr(inner, "save_pretrained") else None


def load_weights(model: nn.Module, folder: Path, shapes: Mapping[str, list[int]]) -> None:
    """Read the weights into the model.

    Raises:
        CheckpointError: They are those of another model.
    """
    from safetensors.torch import load_model

    mine = shapes_of(model)
    if mine != dict(shapes):
        other = sorted(name for name in {*mine, *shapes} if mine.get(name) != shapes.get(name))
        listed = ", ".join(f"{name} (checkpoint {shapes.get(name)}, model {mine.get(name)})" for name in other[:3])
        raise CheckpointError(
            f"The checkpoint {folder} is of another model: {len(other)} weights differ: {listed}. Build the model as "
            "it was."
        )
    if (folder / sharding.WEIGHTS).is_dir():
        sharding.load_shards(model, None, {}, folder)
    elif sharding.is_sharded(model):
        raise CheckpointError(
            f"The weights in {folder} are whole, and this model is sharded. Load them into the model before the "
            "Trainer shards it, and train without resuming."
        )
    else:
        load_model(model, str(folder / "model.safetensors"), device=str(next(model.parameters()).device))


def shapes_of(model: nn.Module) -> dict[str, list[int]]:
    """List the shapes of all weights and buffers by name."""
    return {name: list(value.shape) for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
