"""Several processes, one training: torch.distributed under torchrun, DDP or FSDP2, and nothing home-made.

Every process runs the same Trainer. They meet in the average of the gradients, in the sums of an evaluation, and where
a checkpoint is written.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from runcast.core.errors import OptionError
from runcast.trainer import sharding
from runcast.trainer.arguments import TrainingArguments

BACKENDS = {"cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}


@dataclass(frozen=True, slots=True)
class Ranks:
    """Says which process of the job this is; alone, everything here is free."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value

    def together(self, action: Callable[[], object]) -> None:
        """Do something in every process.

        Where it fails in one with an OSError, raise one in all, so that none waits for the others in vain.
        """
        problem: OSError | None = None
        try:
            action()
        except OSError as error:
            problem = error
        told = [text for text in self.gather(problem and str(problem)) if text is not None]
        if told:
            raise problem or OSError(f"another process: {told[0]}")

    def gather(self, value: Any) -> list[Any]:
        """Collect an object of every process, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


def join_job(args: TrainingArguments, device: torch.device) -> Ranks:
    """Read what torchrun says, and join the process group unless the user has done it.

    Raises:
        OptionError: Devices of this kind cannot work together.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))
    if size == 1 and not args.fsdp:
        return Ranks()
    if "MASTER_ADDR" not in os.environ:
        raise OptionError("fsdp=True shards over processes. Start them with: torchrun --nproc-per-node 2 train.py")
    if device.type not in BACKENDS and args.ddp_backend is None:
        raise OptionError(f"Several processes cannot train on {device.type}. Use use_cpu=True, or one process.")
    distributed.init_process_group(
        args.ddp_backend or BACKENDS[device.type], timeout=timedelta(seconds=args.ddp_timeout)
    )
    return Ranks(distributed.get_rank(), distributed.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def wrap(model: nn.Module, args: TrainingArguments, device: torch.device, ranks: Ranks) -> nn.Module:
    """Bring the model to the device; shard it, or let DDP average its gradients, and compile it, as asked for."""
    if args.fsdp:
        sharding.shard(model, args, device, ranks.size, ranks.rank)
    else:
        model.to(device)
    if ranks.size > 1 and not args.fsdp:
        ids = None if device.type == "cpu" else [device]
        model = nn.parallel.DistributedDataParallel(
            model, device_ids=ids, find_unused_parameters=args.ddp_find_unused_parameters
        )
    if args.torch_compile:
        settings = {"backend": args.torch_compile_backend, "mode": args.torch_compile_mode}
        model = torch.compile(model, **{name: value for name, value in settings.items() if value is not None})
    return model


def accumulating(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Keep the gradients of a batch from being averaged over the processes: another one of the same step follows."""
    inner: Any = getattr(model, "_orig_mod", model)
    if sharding.is_sharded(inner):
        return sharding.accumulating(inner)
    return inner.no_sync() if hasattr(inner, "no_sync") else contextlib.nullcontext()
