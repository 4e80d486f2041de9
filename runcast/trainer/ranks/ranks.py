"""What the processes of a job decide and do together."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from runcast.core.errors import RankError

T = TypeVar("T")
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

    def together(self, action: Callable[[], T]) -> T:
        """Do something in every process; where it fails in one, fail in all, so that none waits for the others in vain.

        Return what it returned here.

        Raises:
            OSError: The action raised one here or, if nothing worse happened, elsewhere.
            RankError: It raised something else in another process.
        """
        problem: Exception | None = None
        try:
            result = action()
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
        return result

    def apart(self) -> "Ranks":
        """Return the same processes with a group of their own, for another thread; all of them call it."""
        return self if self.size == 1 else replace(self, group=distributed.new_group(backend="gloo"))

    # When one of them fails

    def failure(self, error: BaseException, session: int) -> str | None:
        """Leave the reason of a failure for the others; if it is they who failed, return which one and why.

        Args:
            error: What was raised here. A broken connection is not the reason, but the sign that another one failed.
            session: The number of the call, the same in every process, that failed.
        """
        if self.size == 1:
            return None
        notes = "".join(f" ({note.rstrip('.')})" for note in getattr(error, "__notes__", ()))
        text = f"{self.rank} {type(error).__name__}: {error}{notes}"[:2000]
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
            return (
                f"Rank {rank} failed: {reason}. Rank {self.rank} cannot continue alone: see the output of rank {rank}."
            )
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
        except (RuntimeError, AttributeError):  # the store is gone, so the ranks cannot agree
            return False
        try:
            action()
        finally:
            with contextlib.suppress(RuntimeError):
                store.set(f"runcast/{key}/done", "1")
        return True


def _store() -> Any:
    """Return what the processes of the job use to find each other; with torchrun it outlives each of them."""
    return distributed.distributed_c10d._get_default_store()
