"""The order of the data: drawn from seed and epoch, shared out among ranks, continued where a checkpoint left it."""

import collections
import copy
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset

from runcast.trainer.data.samplers import EpochOrder, OwnLoader, RankSlice, Remaining, Unpadded
from runcast.trainer.data.streams import RankStream
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments


def set_epoch(loader: DataLoader[Any], args: TrainingArguments, epoch: int) -> None:
    """Give the epoch its own order of the data; a ready loader keeps its generator, but receives the epoch."""
    if isinstance(loader, OwnLoader):
        loader.generator.manual_seed(order_seed(args) + epoch)
    for part in _parts_of(loader).values():
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def order_seed(args: TrainingArguments) -> int:
    """Return the seed of the order of the data."""
    return args.seed if args.data_seed is None else args.data_seed


def _parts_of(loader: DataLoader[Any]) -> dict[str, Any]:
    """Name what a loader consists of, each part once."""
    batches = loader.batch_sampler
    parts = {
        "loader": loader,
        "sampler": loader.sampler,
        "batch_sampler": batches,
        "batch_sampler.sampler": getattr(batches, "sampler", None),
        "dataset": loader.dataset,
    }
    return {
        name: part
        for name, part in parts.items()
        if list(map(id, parts.values())).index(id(part)) == list(parts).index(name)
    }


def generators_of(loader: DataLoader[Any]) -> dict[str, Any]:
    """Find the random generators, of torch, Python or NumPy, that a ready loader or a dataset has of its own."""
    parts = _parts_of(loader)
    if isinstance(loader, OwnLoader):  # its generator depends on the epoch alone
        parts = {"dataset": parts["dataset"], "source": getattr(loader.dataset, "source", None)}
    kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
    return {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in getattr(part, "__dict__", {}).items()
        if isinstance(value, kinds)
    }


def stateful_source(loader: DataLoader[Any]) -> Any | None:
    """Find what knows its own position in the data (`state_dict` and `load_state_dict`): the loader or its stream."""
    stream = loader.dataset if loader.num_workers == 0 else None
    if isinstance(stream, RankStream):
        stream = stream.source
    for source in (loader, stream):
        if hasattr(source, "state_dict") and hasattr(source, "load_state_dict"):
            return source
    return None


class SamplerStates:
    """The samplers of a ready loader that have a state of their own (`state_dict` and `load_state_dict`).

    A checkpoint keeps the state from before an epoch was drawn: what was used of the epoch is passed over again.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._loader = loader
        self._samplers = {
            name: part
            for name, part in _parts_of(loader).items()
            if name.endswith("sampler") and hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
        }
        if isinstance(loader, OwnLoader) or stateful_source(loader) is loader:
            self._samplers = {}

    def read(self) -> dict[str, Any]:
        """Copy the states."""
        return {name: copy.deepcopy(part.state_dict()) for name, part in self._samplers.items()}

    def restore(self, kept: dict[str, Any] | None, *, is_over: bool = False) -> dict[str, Any] | None:
        """Reset the samplers to the beginning of an epoch, or to its end; return what was *kept* of it."""
        states = (kept or {}).get("samplers", {})
        found = [(part, states[name]) for name, part in self._samplers.items() if name in states]
        for sampler, state in found:
            sampler.load_state_dict(copy.deepcopy(state))
            # One whose state is its place in an order was at the end of the last one, and has nothing left of that.
            if next(iter(sampler), None) is not None:
                sampler.load_state_dict(copy.deepcopy(state))  # as if it had not been inspected
        if found and is_over:
            collections.deque(self._loader.batch_sampler or self._loader.sampler, maxlen=0)
        return kept


def continue_epoch(
    loader: DataLoader[Any], batches: int, examples: int | None, ranks: Ranks, state: Mapping[str, Any] | None = None
) -> tuple[Iterator[Any], Callable[[], object]]:
    """Iterate over an epoch after its first *examples*, of all ranks, or, if that is None, after its *batches*.

    Examples of a map-style dataset are skipped without being read. So are those of a stream that has a *state* of its
    own; any other stream has to be read up to the position.

    The function that comes with the iterator draws the order of the epoch. Call it while the random numbers are those
    of the beginning of the epoch.
    """
    if state is not None and (source := stateful_source(loader)) is not None:
        source.load_state_dict(state)
        return iter(loader), _nothing
    starts = [part for part in (loader.sampler, loader.dataset) if isinstance(part, EpochOrder | RankStream)]
    if starts and examples is not None:
        starts[0].start_at(examples)
        return iter(loader), _nothing
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        if examples is not None:
            batches = -(-examples // ((loader.batch_size or 1) * ranks.size))
        rest = iter(loader)
        return rest, lambda: collections.deque(itertools.islice(rest, batches), maxlen=0)
    if type(loader.batch_sampler) is BatchSampler and examples is not None:
        remaining = Remaining(loader.batch_sampler.sampler, examples // ranks.size)
        size, drop_last = loader.batch_sampler.batch_size, loader.batch_sampler.drop_last
        return iter(_like(loader, BatchSampler(remaining, size, drop_last))), remaining.draw
    remaining = Remaining(loader.batch_sampler, batches)
    return iter(_like(loader, remaining)), remaining.draw


def _nothing() -> None:
    pass


def _like(loader: DataLoader[Any], batch_sampler: Any) -> DataLoader[Any]:
    """Make a loader that differs in what its batches are made of."""
    return DataLoader(
        loader.dataset,
        batch_sampler=batch_sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        generator=loader.generator,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )


def without_padding(loader: DataLoader[Any], ranks: Ranks) -> DataLoader[Any]:
    """Let a loader give each example once, though its DistributedSampler repeats some to give all ranks as many."""
    batches = loader.batch_sampler
    if division(loader, ranks) != "turns" or type(loader) is not DataLoader or type(batches) is not BatchSampler:
        return loader
    kept = Unpadded(batches.sampler)
    return (
        loader
        if len(kept) == len(batches.sampler)
        else _like(loader, BatchSampler(kept, batches.batch_size, batches.drop_last))
    )


def division(loader: DataLoader[Any], ranks: Ranks) -> str | None:
    """Tell how the ranks share out what a loader evaluates: in "blocks", in "turns", or not at all (None)."""
    if ranks.size == 1:
        return None
    if isinstance(loader.dataset, RankSlice):
        return "blocks"
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    takes_turns = isinstance(sampler, Unpadded) or (
        isinstance(sampler, DistributedSampler) and sampler.num_replicas == ranks.size
    )
    return "turns" if takes_turns or isinstance(loader.dataset, RankStream) else None
