"""The samplers of the Trainer's own, and those of a ready loader that have a state."""

import collections
import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, Subset

from runcast.trainer.ranks.ranks import Ranks


class EpochOrder(Sampler[int]):  # type: ignore[misc]
    """The order of an epoch, drawn from seed and epoch alone, of which the ranks take turns.

    Whatever the number of ranks and the size of a batch, the first so many examples are the same ones: a training that
    is resumed with others continues where it was. Where the last turn is not enough for all ranks, examples are
    repeated.
    """

    def __init__(self, size: int, seed: int, ranks: Ranks) -> None:
        self._size, self._seed, self._ranks = size, seed, ranks
        self._epoch = self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and begin with its first example."""
        self._epoch, self._start = epoch, 0

    def start_at(self, examples: int) -> None:
        """Leave out what all ranks together have used of the epoch."""
        self._start = min(examples, self._size)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        torch.empty((), dtype=torch.int64).random_(generator=generator)  # as a DataLoader does before it asks a sampler
        whole = torch.randperm(self._size, generator=generator).tolist()
        order = whole[self._start :]
        missing = -len(order) % self._ranks.size
        order += itertools.islice(itertools.cycle(whole), missing)
        return iter(order[self._ranks.rank :: self._ranks.size])

    def __len__(self) -> int:
        return math.ceil(self._size / self._ranks.size)


class RankSlice(Subset[Any]):  # type: ignore[misc]
    """The examples that one rank evaluates: those of all ranks in their order are the whole dataset, each once."""


class OwnLoader(DataLoader[Any]):  # type: ignore[misc]
    """A loader made here: its order depends on seed and epoch alone."""


class _Remaining(Sampler[Any]):  # type: ignore[misc]
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


class _Unpadded(Sampler[int]):  # type: ignore[misc]
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
