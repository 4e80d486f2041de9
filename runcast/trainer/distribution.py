"""Several processes, one training: torch.distributed under torchrun, DDP or FSDP2, and nothing home-made.

Every process runs the same Trainer. They meet in the average of the gradients, in the sums of an evaluation, and where
a decision is made: what one of them decides, all do (`Ranks.any`), and what may be computed differently is taken from
the first (`Ranks.of_first`). A process that fails leaves its reason in the job's store, where the others find it when
their connection to it breaks (`Ranks.failure`).
"""

import atexit
import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn

from runcast.core.errors import OptionError, RankError
from runcast.run.ranks import group_of_hosts
from runcast.trainer import sharding
from runcast.trainer.arguments import TrainingArguments

BACKENDS = {"cuda": "nccl", "xpu": "xccl", "cpu": "gloo"}
_LOST = re.compile(r"gloo|nccl|xccl|connection (closed|reset|refused)|broken pipe|TCPStore", re.IGNORECASE)
_SAVED_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Ranks:
    """The place of this process in its job; alone, everything here is free.

    Decisions and objects go from host to host, through `group` where the default group is of GPUs only: no step waits
    for a GPU because of them.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    group: Any = None

    def any(self, answers: Sequence[bool]) -> list[bool]:
        """Answer each of some questions with yes where any process does."""
        if self.size == 1:
            return list(answers)
        said = torch.tensor(answers, dtype=torch.uint8)
        distributed.all_reduce(said, distributed.ReduceOp.MAX, group=self.group)
        return [answer > 0 for answer in said.tolist()]

    def least(self, value: int) -> int:
        """Return the smallest value that any process has."""
        if self.size == 1:
            return value
        values = torch.tensor([value])
        distributed.all_reduce(values, distributed.ReduceOp.MIN, group=self.group)
        return int(values)

    def total(self, value: torch.Tensor) -> torch.Tensor:
        """Add up a tensor over all processes."""
        if self.size > 1:
            distributed.all_reduce(value, group=self.group if value.device.type == "cpu" else None)
        return value

    def of_first(self, value: Any) -> Any:
        """Return the object that the first process has."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        """Collect an object of every process, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def together(self, action: Callable[[], object]) -> None:
        """Do something in every process; where it fails in one, fail in all, so that none waits for the others in vain.

        Raises:
            OSError: The action raised one here or, if nothing worse happened, elsewhere.
            RankError: It raised something else in another process.
        """
        problem: Exception | None = None
        try:
            action()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others have to know, and it is raised below
            problem = error
        found = self.gather(problem and (isinstance(problem, OSError), f"{type(problem).__name__}: {problem}"))
        if problem is not None and not isinstance(problem, OSError):
            raise problem
        for rank, trouble in enumerate(found):
            if trouble is not None and not trouble[0]:
                raise RankError(f"Rank {rank} failed: {trouble[1]}")
        if problem is not None:
            raise problem
        if told := [trouble[1] for trouble in found if trouble is not None]:
            raise OSError(f"another process: {told[0]}")

    # When one of them fails

    def failure(self, error: BaseException, session: int) -> str | None:
        """Leave the reason of a failure for the others; if it is they who failed, return which one and why.

        Args:
            error: What was raised here. A broken connection is not the reason, but the sign that another one failed.
            session: The number of the call, the same in every process, that failed.
        """
        if self.size == 1:
            return None
        text = f"{self.rank} {type(error).__name__}: {error}"[:2000]
        is_lost = isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None
        try:
            store, key = _store(), f"runcast/failure/{session}"
            if not is_lost:
                store.compare_set(key, "", text)
                return None
            first = store.get(key).decode() if store.check([key]) else ""
        except (RuntimeError, AttributeError):  # it went down with the process that kept it; with MPI there is none
            first = ""
        if not is_lost or first.startswith(f"{self.rank} "):
            return None
        if first:
            rank, _, reason = first.rstrip(".").partition(" ")
            return f"Rank {rank} failed: {reason}. Rank {self.rank} cannot go on alone: see the output of rank {rank}."
        return (
            f"Rank {self.rank} lost the connection to another process of the job, which ended without giving a reason: "
            f"it was killed, or it ran out of memory. See its output. {error}"
        )

    def alone(self, key: str, action: Callable[[], object]) -> bool:
        """Let the first process that comes here do something; a later one waits until it is done.

        Others need not come: unlike everything above, this is no collective operation. Return whether it was this one.
        """
        if self.size == 1:
            action()
            return True
        try:
            store = _store()
            if store.compare_set(f"runcast/{key}", "", str(self.rank)).decode() != str(self.rank):
                store.wait([f"runcast/{key}/done"], _SAVED_WITHIN)
                return False
        except (RuntimeError, AttributeError):  # the store is gone: nobody can tell who does it
            return False
        try:
            action()
        finally:
            with contextlib.suppress(RuntimeError):
                store.set(f"runcast/{key}/done", "1")
        return True


def join_job(args: TrainingArguments, device: torch.device) -> Ranks:
    """Read what torchrun says, and join the process group unless the user has done it.

    Raises:
        OptionError: Devices of this kind cannot work together.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    if distributed.is_available() and distributed.is_initialized():
        return _place()
    if size == 1 and not args.fsdp:
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
    return _place()


def backend_for(kind: str, asked: str | None) -> str:
    """Name the backends of a job: the device's own, and gloo for what stays on the hosts.

    FSDP with cpu_offload, decisions and objects need the latter.
    """
    backend = asked or BACKENDS[kind]
    return backend if kind == "cpu" or ":" in backend or backend in ("gloo", "mpi") else f"cpu:gloo,{kind}:{backend}"


def _place() -> Ranks:
    """Tell which process this is, with a group for the hosts where the default one, made by the user, has none."""
    rank, size = distributed.get_rank(), distributed.get_world_size()
    return Ranks(rank, size, int(os.environ.get("LOCAL_RANK", 0)), None if size == 1 else group_of_hosts())


def _store() -> Any:
    """Return what the processes of the job use to find each other; with torchrun it outlives each of them."""
    return distributed.distributed_c10d._get_default_store()


def _leave_job() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


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
    return _compiled(model, args)


def for_evaluation(model: nn.Module, wrapped: nn.Module, args: TrainingArguments) -> nn.Module:
    """Return what an evaluation calls: compiled, but without DDP, as ranks may have unlike numbers of batches."""
    inner = getattr(wrapped, "_orig_mod", wrapped)
    return _compiled(model, args) if isinstance(inner, nn.parallel.DistributedDataParallel) else wrapped


def _compiled(model: nn.Module, args: TrainingArguments) -> nn.Module:
    if not args.torch_compile:
        return model
    settings = {"backend": args.torch_compile_backend, "mode": args.torch_compile_mode}
    found: nn.Module = torch.compile(model, **{name: value for name, value in settings.items() if value is not None})
    return found


def accumulating(model: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Keep the gradients of a batch from being averaged over the processes: another one of the same step follows."""
    inner: Any = getattr(model, "_orig_mod", model)
    if sharding.is_sharded(inner):
        return sharding.accumulating(inner)
    return inner.no_sync() if hasattr(inner, "no_sync") else contextlib.nullcontext()
