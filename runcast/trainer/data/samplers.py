"""The samplers of the Trainer's own, and those of a ready loader that have a state."""

import collections
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, Subset

from runcast.trainer.ranks.ranks import Ranks


class EpochOrder(Sampler[int]):  # type: ignore[misc]
    """The order of an epoch, drawn from seed and epoch alone, of which the ranks take turns.

    Whatever the number of ranks and the size of a batch, the first so many examples are the same ones: a training that
    is resumed with others continues where it was. Where the last turn is not enough for all ranks, examples are
    repeated. A single process of transformers has the same order.

    Args:
        size: The number of examples.
        seed: Settles the order, with the epoch.
        ranks: The processes of the job.
        strategy: "random", "sequential", or "group_by_length".
        lengths: Of the examples, for the last one.
        batch_size: The examples of a batch of all processes, for the last one.
    """

    is_older = False  # whether a checkpoint of an epoch in the order of version 0.1 is resumed

    def __init__(
        self,
        size: int,
        seed: int,
        ranks: Ranks,
        strategy: str = "random",
        lengths: Sequence[int] = (),
        batch_size: int = 1,
    ) -> None:
        self._size, self._seed, self._ranks = size, seed, ranks
        self._strategy, self._lengths, self._batch_size = strategy, lengths, batch_size
        self._epoch = self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and begin with its first example."""
        self._epoch, self._start = epoch, 0

    def start_at(self, examples: int) -> None:
        """Leave out what all ranks together have used of the epoch."""
        self._start = min(examples, self._size)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        if self.is_older:
            torch.empty((), dtype=torch.int64).random_(generator=generator)
        whole = torch.randperm(self._size, generator=generator).tolist()
        if self._strategy == "sequential":
            whole = list(range(self._size))
        elif self._strategy == "group_by_length":
            whole = grouped(whole, self._lengths, self._batch_size)
        order = whole[self._start :]
        missing = -len(order) % self._ranks.size
        order += itertools.islice(itertools.cycle(whole), missing)
        return iter(order[self._ranks.rank :: self._ranks.size])

    def __len__(self) -> int:
        return math.ceil(self._size / self._ranks.size)


def grouped(order: list[int], lengths: Sequence[int], batch_size: int) -> list[int]:
    """Sort runs of 50 batches (fewer of a small dataset) by length, the longest first, and begin with the longest."""
    size = max(1, min(len(order) // (batch_size * 4), 50)) * batch_size
    runs = [
        sorted(order[start : start + size], key=lambda index: lengths[index], reverse=True)
        for start in range(0, len(order), size)
    ]
    longest = max(range(len(runs)), key=lambda number: lengths[runs[number][0]])
    runs[0][0], runs[longest][0] = runs[longest][0], runs[0][0]
    return [index for run in runs for index in run]


class RankSlice(Subset[Any]):  # type: ignore[misc]
    """The examples that one rank evaluates: those of all ranks in their order are the whole dataset, each once."""


class OwnLoader(DataLoader[Any]):  # type: ignore[misc]
    """A loader made here: its order depends on seed and epoch alone."""


class Remaining(Sampler[Any]):  # type: ignore[misc]
    """A sampler without its first items; `draw` draws the order, not the first request for an item."""

    def __init__(self, items: Any, skip: int) -> None:
        self._all = items
        self._skip = skip
        self._rest: Iterator[Any] | None = None

    def draw(self) -> None:
        """Draw the order, and skip the used part."""
        if self._rest is None:
            self._rest = iter(self._all)
            collections.deque(itertools.islice(self._rest, self._skip), maxlen=0)

    def __iter__(self) -> Iterator[Any]:
        self.draw()
        assert self._rest is not None
        return self._rest

    def __len__(self) -> int:
        return max(0, len(self._all) - self._skip)


class Unpadded(Sampler[int]):  # type: ignore[misc]
    """A DistributedSampler without the examples that it repeats."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler

    def set_epoch(self, epoch: int) -> None:
        """Tell the sampler the epoch."""
        self._sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._sampler, len(self))

    def __len__(self) -> int:
        sampler = self._sampler
        return min(len(sampler), len(range(sampler.rank, len(sampler.dataset), sampler.num_replicas)))
