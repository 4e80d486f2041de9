"""What of a training goes into a checkpoint and comes back, so that a resumed one ends with the very same weights."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from runcast.core.errors import CheckpointError
from runcast.core.events import TrainerState
from runcast.core.values import as_json
from runcast.trainer import sharding
from runcast.trainer.checkpoint import load_tensors, save_tensors, verify, write_manifest

if TYPE_CHECKING:
    from runcast.trainer.training import Training


def save_weights(model: nn.Module, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write the weights, and a transformers model's configuration, so that `from_pretrained(folder)` reads them too.

    Args:
        model: The model.
        folder: Where to.
        weights: Those of a sharded model, gathered; by default the model's own.

    Raises:
        OSError: They cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file, save_model

    path, metadata = str(folder / "model.safetensors"), {"format": "pt"}
    try:
        if weights is None:
            save_model(model, path, metadata=metadata)
        else:
            save_file(weights, path, metadata=metadata)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"model.safetensors: {error}") from error
    save_config(model, folder)


def save_config(model: nn.Module, folder: Path) -> None:
    """Write the configuration of a transformers model."""
    for name in ("config", "generation_config"):
        part: Any = getattr(model, name, None)
        if hasattr(part, "save_pretrained"):
            part.save_pretrained(folder)


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


def save_training(training: "Training", folder: Path) -> None:
    """Write everything to *folder*; each rank calls it, and it raises in all of them or in none."""
    ranks = training.ranks
    ranks.together(lambda: _save_own(training, folder))
    ranks.together(lambda: _save_common(training, folder) if ranks.rank == 0 else None)


def _save_own(training: "Training", folder: Path) -> None:
    model, only_model = training.trainer.model, training.trainer.args.save_only_model
    shards: dict[str, Any] = {}
    if sharding.is_sharded(model):
        settings = sharding.save_shards(model, None if only_model else training.optimizer, folder)
        shards = {"optimizer": settings, "buffers": sharding.own_buffers(model)}
    if not only_model:
        own = {"rng": random_state(training.device), "shards": shards, **training.position()}
        save_tensors(own, folder / f"rank-{training.ranks.rank}.pt")


def _save_common(training: "Training", folder: Path) -> None:
    trainer = training.trainer
    if sharding.is_sharded(trainer.model):
        save_config(trainer.model, folder)
    else:
        save_weights(trainer.model, folder)
    if hasattr(trainer.processing_class, "save_pretrained"):
        trainer.processing_class.save_pretrained(folder)
    if not trainer.args.save_only_model:
        for name, part in _whole_parts(training).items():
            save_tensors(part.state_dict(), folder / f"{name}.pt")
    trainer.state.stateful_callbacks = trainer.callback_handler.states()
    trainer.state.save_to_json(folder / "trainer_state.json")
    (folder / "training_args.json").write_text(json.dumps(as_json(trainer.args.to_dict()), indent=2), encoding="utf-8")
    write_manifest(
        folder, step=trainer.state.global_step, world_size=training.ranks.size, shapes=shapes_of(trainer.model)
    )


def load_training(training: "Training", folder: Path) -> dict[str, Any]:
    """Read a checkpoint into a training; return the position of this rank, for `Training.go_on_from`.

    Raises:
        CheckpointError: It is damaged, foreign, of another model, holds weights only, or was written by another number
            of processes.
    """
    trainer, ranks = training.trainer, training.ranks
    manifest = verify(folder)
    only_weights = "rank-0.pt" not in manifest["files"]
    if only_weights or manifest["world_size"] != ranks.size:
        why = (
            "holds weights only (save_only_model)"
            if only_weights
            else f"was written by {manifest['world_size']} processes"
        )
        raise CheckpointError(f"One cannot resume from {folder} with {ranks.size} processes: it {why}.")
    is_sharded = (folder / sharding.WEIGHTS).is_dir()
    if is_sharded != sharding.is_sharded(trainer.model):
        was, fix = ("sharded", "Set fsdp=True") if is_sharded else ("not sharded", "Leave fsdp out")
        raise CheckpointError(f"The training that wrote {folder} was {was}, and this one is not so. {fix}.")
    position: dict[str, Any] = load_tensors(folder / f"rank-{ranks.rank}.pt")
    load_weights(trainer.model, folder, manifest["shapes"])
    if is_sharded:
        sharding.load_shards(trainer.model, training.optimizer, position["shards"]["optimizer"], folder)
        sharding.set_own_buffers(trainer.model, position["shards"]["buffers"])
    for name, part in _whole_parts(training).items():
        try:
            part.load_state_dict(load_tensors(folder / f"{name}.pt", training.device if name == "optimizer" else "cpu"))
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"{folder}/{name}.pt does not suit this training: {error}. Use the optimizer and schedule that it was "
                "saved with."
            ) from error
    trainer.state = TrainerState.load_from_json(folder / "trainer_state.json")
    if trainer.args.restore_callback_states_from_checkpoint:
        trainer.callback_handler.load_states(trainer.state.stateful_callbacks)
    return position


def _whole_parts(training: "Training") -> dict[str, Any]:
    """Name the parts that one process writes for all: without the optimizer of a sharded model."""
    sharded = sharding.is_sharded(training.trainer.model)
    return {name: part for name, part in training.stateful().items() if name != "optimizer" or not sharded}


def random_state(device: torch.device) -> dict[str, Any]:
    """Copy the state of every random number generator that a training may use."""
    kind, keys, *rest = tuple(np.random.get_state(legacy=True))
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "cpu": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = getattr(torch, device.type).get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set the state of every random number generator back."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["cpu"].cpu())
    if "device" in state and device.type != "cpu":
        getattr(torch, device.type).set_rng_state(state["device"].cpu())
