"""The model as several processes train it: sharded, or with averaged gradients; compiled if asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from runcast.callbacks.weights import uncompiled
from runcast.core.errors import OptionError
from runcast.trainer.ranks import sharding
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments


def wrap(model: nn.Module, args: TrainingArguments, device: torch.device, ranks: Ranks) -> nn.Module:
    """Bring the model to the device; shard it, or let DDP average its gradients, and compile it, as asked for."""
    if args.torch_compile and args.torch_compile_blocks:
        _compile_blocks(model, args)
    if args.fsdp:
        sharding.shard(model, args, device, ranks.size, ranks.rank)
    else:
        model.to(device)
    if ranks.size > 1 and not args.fsdp:
        ids = None if device.type == "cpu" else [device]
        more = {n: getattr(args, f"ddp_{n}") for n in ("bucket_cap_mb", "broadcast_buffers", "static_graph")}
        model = nn.parallel.DistributedDataParallel(
            model,
            device_ids=ids,
            find_unused_parameters=args.ddp_find_unused_parameters,
            **{name: value for name, value in more.items() if value is not None},
        )
    return _compiled(model, args)


def for_evaluation(model: nn.Module, wrapped: nn.Module, args: TrainingArguments) -> nn.Module:
    """Return what an evaluation calls: compiled, but without DDP, as ranks may have unlike numbers of batches."""
    has_ddp = isinstance(uncompiled(wrapped), nn.parallel.DistributedDataParallel)
    return _compiled(model, args) if has_ddp else wrapped


def _compiled(model: nn.Module, args: TrainingArguments) -> nn.Module:
    if not args.torch_compile or args.torch_compile_blocks:
        return model
    found: nn.Module = torch.compile(model, **_how_to_compile(args))
    return found


def _compile_blocks(model: nn.Module, args: TrainingArguments) -> None:
    """Compile the blocks that FSDP would gather by themselves: equal ones share what is compiled.

    Raises:
        OptionError: The model has none.
    """
    blocks = sharding.blocks_of(model, args.mapping("fsdp_config"))
    if not blocks:
        raise OptionError(
            f"torch_compile_blocks=True, but {type(model).__name__} has no blocks. Put them in an nn.ModuleList, or "
            "leave it out."
        )
    for block in blocks:
        block.compile(**_how_to_compile(args))


def _how_to_compile(args: TrainingArguments) -> dict[str, Any]:
    settings = {"backend": args.torch_compile_backend, "mode": args.torch_compile_mode}
    return {name: value for name, value in settings.items() if value is not None}


def gradient_sync(model: nn.Module) -> Callable[[bool], None] | None:
    """Return what decides whether the gradients of the next batch are averaged over the processes; None if alone."""
    inner = uncompiled(model)
    if sharding.is_sharded(inner):
        found: Callable[[bool], None] = inner.set_requires_gradient_sync
        return found
    if not isinstance(inner, nn.parallel.DistributedDataParallel):
        return None

    def set_sync(syncs: bool) -> None:
        inner.require_backward_grad_sync = syncs  # as its no_sync() does

    return set_sync
