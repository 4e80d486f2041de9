"""FSDP2: weights, gradients and optimizer spread over the processes; all of it torch's own.

Sharding is `torch.distributed.fsdp.fully_shard`. A sharded checkpoint is written by torch.distributed.checkpoint as
safetensors, one file of each process, which holds nothing that could be run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from runcast.core.errors import CheckpointError, OptionError
from runcast.trainer.settings.arguments import TrainingArguments

WEIGHTS, OPTIMIZER = "model-shards", "optimizer-shards"


def shard(model: nn.Module, args: TrainingArguments, device: torch.device, size: int, rank: int) -> None:
    """Shard a model in place: each block by itself, then what is left. The weights are those of the first process.

    Raises:
        OptionError: This torch has no FSDP2, or no block has a name that was given.
    """
    try:
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader  # noqa: F401 - what saves need
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
    except ImportError as error:
        raise OptionError(f"fsdp=True needs torch 2.9 or later, and this is {torch.__version__}.") from error
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh

    config = args.mapping("fsdp_config")
    offload, shape = bool(config.get("cpu_offload", False)), mesh_of(size, config.get("replicas", 1))
    settings: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, shape, mesh_dim_names=("replicate", "shard")[-len(shape) :]),
        "reshard_after_forward": config.get("reshard_after_forward", True),
        "mp_policy": MixedPrecisionPolicy(torch.bfloat16, torch.float32) if args.bf16 else MixedPrecisionPolicy(),
        "offload_policy": CPUOffloadPolicy() if offload else OffloadPolicy(),
    }
    whole = model.state_dict() if rank == 0 else {}
    for block in blocks_of(model, config):
        fully_shard(block, **settings)
    fully_shard(model, **settings)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=offload)
    set_model_state_dict(model, whole, options=options)


def mesh_of(size: int, replicas: int) -> tuple[int, ...]:
    """Return the mesh of the job: one row, or (HSDP) as many as there are replicas, each of which is sharded.

    Raises:
        OptionError: The processes cannot be divided so.
    """
    if replicas < 1 or size % replicas:
        raise OptionError(f"fsdp_config has replicas={replicas}, of which {size} processes cannot make equal ones.")
    return (size,) if replicas == 1 else (replicas, size // replicas)


def is_sharded(model: nn.Module) -> bool:
    """Return whether a model is sharded."""
    return hasattr(model, "set_requires_gradient_sync")


def blocks_of(model: nn.Module, config: Mapping[str, Any]) -> list[nn.Module]:
    """Find the parts that are gathered by themselves, the inner ones first.

    Those of the classes or the size that were asked for, else those that a model of transformers calls unsplittable,
    else the members of every `nn.ModuleList`.
    """
    named = config.get("transformer_layer_cls_to_wrap") or ()
    names = [named] if isinstance(named, str) else list(named)
    modules = list(model.modules())[:0:-1]
    if names:
        found = [module for module in modules if type(module).__name__ in names]
        if not found:
            kinds = sorted({type(module).__name__ for module in modules})
            raise OptionError(
                f"transformer_layer_cls_to_wrap={names}, but the model has no such part. It has: {', '.join(kinds)}."
            )
        return found
    if least := config.get("min_num_params"):
        return [module for module in modules if sum(p.numel() for p in module.parameters()) >= least]
    if unsplittable := getattr(model, "_no_split_modules", None):
        return [module for module in modules if type(module).__name__ in unsplittable]
    lists = [module for module in modules if isinstance(module, nn.ModuleList)]
    return [block for parts in lists for block in parts if any(True for _ in block.parameters())]


def shards_of(
    model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Return this process' part of the weights and the optimizer, by folder, and what of the latter is no tensor."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    weights = get_model_state_dict(model)
    if optimizer is None:
        return {WEIGHTS: weights}, {}
    tensors, settings = _split(_optimizer_state(model, optimizer))
    return {WEIGHTS: weights, OPTIMIZER: tensors}, settings


def save_shards(shards: Mapping[str, dict[str, torch.Tensor]], folder: Path, group: Any) -> None:
    """Write what `shards_of` returned, each process its part; they agree through the group, None for the default one.

    Raises:
        OSError: It cannot be written.
    """
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter

    for name, tensors in shards.items():
        writer = HuggingFaceStorageWriter(str(folder / name), save_distributed=True)
        try:
            checkpoint.save(tensors, storage_writer=writer, process_group=group)
        except checkpoint.CheckpointException as error:
            raise OSError(f"{name}: {_first_failure(error)}") from error


def load_shards(model: nn.Module, optimizer: Any, settings: Mapping[str, Any], folder: Path) -> None:
    """Read what `save_shards` wrote into the model and, unless it is None, the optimizer."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    weights = get_model_state_dict(model)
    _read(weights, folder / WEIGHTS)
    set_model_state_dict(model, weights)
    if optimizer is not None:
        tensors, _ = _split(_optimizer_state(model, optimizer))
        _read(tensors, folder / OPTIMIZER)
        options = StateDictOptions(flatten_optimizer_state_dict=True)
        set_optimizer_state_dict(model, optimizer, {**settings, **tensors}, options=options)


def own_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copy the buffers, which are not sharded and differ from process to process (running means of a batch norm)."""
    return {name: buffer.detach().clone() for name, buffer in model.named_buffers()}


def set_own_buffers(model: nn.Module, buffers: Mapping[str, torch.Tensor]) -> None:
    """Set the buffers back."""
    mine = dict(model.named_buffers())
    for name, value in buffers.items():
        mine[name].copy_(value)


def _optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    state: dict[str, Any] = get_optimizer_state_dict(
        model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True)
    )
    return state


def _split(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _read(tensors: dict[str, Any], folder: Path) -> None:
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    try:
        checkpoint.load(tensors, storage_reader=HuggingFaceStorageReader(str(folder)))
    except checkpoint.CheckpointException as error:
        raise CheckpointError(f"{folder} does not suit this training: {_first_failure(error)}.") from error


def _first_failure(error: Any) -> str:
    problem = next(iter(error.failures.values()))[0]
    return f"{type(problem).__name__}: {problem}"
