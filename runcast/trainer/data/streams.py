"""Streams: data that can only be iterated, of which each rank and each worker process reads its own part."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from runcast.trainer.ranks.ranks import Ranks


class RankStream(IterableDataset[Any]):  # type: ignore[misc]
    """A stream, or anything that can be iterated, of which each rank and each worker process takes its own examples.

    The ranks take turns; `even` leaves out a rest that is not enough for all. Workers take whole batches in turn, so
    that the order does not depend on their number. A stream that asks which worker it is in (`get_worker_info`) has
    shared out its examples among the workers itself, and is not asked twice.
    """

    def __init__(self, source: Iterable[Any], ranks: Ranks, *, even: bool, batch_size: int = 1) -> None:
        self.source = source
        self._rank, self._ranks, self._batch_size, self._even = ranks.rank, ranks.size, batch_size, even
        # In memory that is shared with worker processes, which live on into later epochs if they are persistent.
        self._place = torch.zeros(2, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, and notify the source if it has `set_epoch`."""
        self._place[0], self._place[1] = epoch, 0
        if hasattr(self.source, "set_epoch"):
            self.source.set_epoch(epoch)

    def start_at(self, examples: int) -> None:
        """Leave out what all ranks together have used of the epoch."""
        self._place[1] = examples

    def __len__(self) -> int:
        source: Any = self.source  # a TypeError says that its length is not known
        count = len(source)
        return count // self._ranks if self._even else len(range(self._rank, count, self._ranks))

    def __iter__(self) -> Iterator[Any]:
        worker, (epoch, start) = get_worker_info(), self._place.tolist()
        if worker is None:
            return self._shared(_behind(start, iter(self.source)), 0, 1)
        if hasattr(self.source, "set_epoch"):
            self.source.set_epoch(epoch)
        examples, shares_itself = _opened(self.source)
        if not shares_itself:
            return self._shared(_behind(start, examples), worker.id, worker.num_workers)
        batch = self._batch_size * self._ranks
        mine = len(range(worker.id, start // batch, worker.num_workers))  # batches that this worker had given
        return self._shared(_behind(mine * batch, examples), 0, 1)

    def _shared(self, examples: Iterator[Any], worker: int, workers: int) -> Iterator[Any]:
        return examples if self._ranks == workers == 1 else self._own(examples, worker, workers)

    def _own(self, examples: Iterator[Any], worker: int, workers: int) -> Iterator[Any]:
        for index in itertools.count():
            turn = list(itertools.islice(examples, self._ranks))
            if not turn or (self._even and len(turn) < self._ranks):
                return
            if index // self._batch_size % workers == worker and self._rank < len(turn):
                yield turn[self._rank]


def _behind(count: int, examples: Iterator[Any]) -> Iterator[Any]:
    """Read so many examples, and return the rest."""
    collections.deque(itertools.islice(examples, count), maxlen=0)
    return examples


def _opened(source: Iterable[Any]) -> tuple[Iterator[Any], bool]:
    """In a worker, begin to read a stream; return its examples and whether it asked which of the workers this is."""
    worker = torch.utils.data._utils.worker
    real, asked = worker._worker_info, _Asked(worker._worker_info)
    worker._worker_info = asked
    try:
        examples = iter(source)
        first = list(itertools.islice(examples, 1))
    finally:
        worker._worker_info = real
    return itertools.chain(first, examples), asked.for_its_number


class _Asked:
    """What `get_worker_info` returns while it is found out whether a stream needs its place among the workers."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.for_its_number = False

    def __getattr__(self, name: str) -> Any:
        self.for_its_number = self.for_its_number or name in ("id", "num_workers")
        return getattr(self._real, name)
