"""Several processes, one training: torch.distributed under torchrun, DDP or FSDP2, and nothing home-made.

Every process runs the same Trainer. They meet in the average of the gradients, in the sums of an evaluation, and where
a decision is made: what one of them decides, all do (`Ranks.any`), and what may be computed differently is taken from
the first (`Ranks.of_first`). A process that fails leaves its reason in the job's store, where the others find it when
their connection to it breaks (`Ranks.failure`).
"""

import atexit
import os
from datetime import timedelta

import torch
from torch import distributed

from runcast.core.errors import OptionError
from runcast.run.ranks import group_of_hosts, joined_job
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

BACKENDS = {"cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}


def join_job(args: TrainingArguments, device: torch.device) -> Ranks:
    """Read what torchrun says, and join the process group unless the user has done it.

    Raises:
        OptionError: Devices of this kind cannot work together.
    """
    if joined_job() is not None:
        return _place(args)
    if args.world_size == 1 and not args.fsdp:
        return Ranks()
    if "MASTER_ADDR" not in os.environ:
        raise OptionError("fsdp=True shards over processes. Start them with: torchrun --nproc-per-node 2 train.py")
    if device.type not in BACKENDS and args.ddp_backend is None:
        raise OptionError(f"Several processes cannot train on {device.type}. Use use_cpu=True, or one process.")
    distributed.init_process_group(
        backend_for(device.type, args.ddp_backend),
        timeout=timedelta(seconds=args.ddp_timeout),
        device_id=device if device.type == "cuda" else None,
    )
    atexit.register(_leave_job)
    return _place(args)


def backend_for(kind: str, asked: str | None) -> str:
    """Name the backends of a job: the device's own, and gloo for what stays on the hosts.

    FSDP with cpu_offload, decisions and objects need the latter.
    """
    backend = asked or BACKENDS[kind]
    return backend if kind == "cpu" or ":" in backend or backend in ("gloo", "mpi") else f"cpu:gloo,{kind}:{backend}"


def _place(args: TrainingArguments) -> Ranks:
    """Tell which process this is, with a group for the hosts where the default one, made by the user, has none."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    return Ranks(rank, size, args.local_process_index, None if size == 1 else group_of_hosts())


def _leave_job() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
