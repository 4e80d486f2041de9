"""Data becomes batches.

In an order that depends on seed and epoch alone, shared among the ranks, and continued where a checkpoint left it.
"""

import collections
import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, default_collate

from runcast.core.errors import OptionError
from runcast.trainer.arguments import TrainingArguments
from runcast.trainer.distribution import Ranks


def make_loader(
    data: Any,
    args: TrainingArguments,
    *,
    train: bool,
    device: torch.device,
    collate: Callable[[list[Any]], Any] | None = None,
    ranks: Ranks | None = None,
) -> DataLoader[Any]:
    """Make a DataLoader of a map-style or iterable dataset; a ready DataLoader stays as it is.

    Raises:
        OptionError: The dataset is empty or none at all.
    """
    if isinstance(data, DataLoader):
        return data
    kind = "train" if train else "eval"
    if data is None:
        raise OptionError(f"There is no {kind} dataset. Give the Trainer one: Trainer(..., {kind}_dataset=...).")
    if isinstance(data, Sized) and len(data) == 0:
        raise OptionError(f"The {kind} dataset is empty.")
    ranks = ranks or Ranks()
    iterable = isinstance(data, IterableDataset) or not hasattr(data, "__getitem__")
    generator = torch.Generator()
    sampler = None
    if iterable:
        data = data if isinstance(data, IterableDataset) else _Stream(data)
        data = RankStream(data, ranks, even=train) if ranks.size > 1 else data
    elif ranks.size > 1 and not train:
        data = RankSlice(data, range(len(data) * ranks.rank // ranks.size, len(data) * (ranks.rank + 1) // ranks.size))
    elif ranks.size > 1:
        seed = args.seed if args.data_seed is None else args.data_seed
        sampler = DistributedSampler(data, ranks.size, ranks.rank, seed=seed)
    workers = args.dataloader_num_workers
    return _OwnLoader(
        data,
        batch_size=args.per_device_train_batch_size if train else args.per_device_eval_batch_size,
        shuffle=None if iterable or sampler is not None else train,
        sampler=sampler,
        generator=generator,
        collate_fn=collate or collate_examples,
        drop_last=train and args.dataloader_drop_last,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory and device.type in ("cuda", "xpu"),
        persistent_workers=args.dataloader_persistent_workers and workers > 0,
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
    )


def collate_examples(examples: list[Any]) -> Any:
    """Make a batch of examples: dicts, dataclasses (become dicts), tuples, tensors, arrays or numbers of equal shape.

    Texts stay a list.
    """
    first = examples[0]
    if dataclasses.is_dataclass(first):
        examples = [
            {field.name: getattr(example, field.name) for field in dataclasses.fields(example)} for example in examples
        ]
        first = examples[0]
    if isinstance(first, Mapping):
        return {key: _stack([example[key] for example in examples]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stack(list(column)) for column in zip(*examples, strict=True))
    return _stack(examples)


def _stack(values: list[Any]) -> Any:
    if isinstance(
        values[0], list
    ):  # of numbers, as tokenizers and `datasets` give them; torch would make a list of columns
        return torch.tensor(values)
    return default_collate(values)


def set_epoch(loader: DataLoader[Any], args: TrainingArguments, epoch: int) -> None:
    """Give the epoch its own order of the data; a ready loader keeps its generator, but is told the epoch."""
    if isinstance(loader, _OwnLoader):
        loader.generator.manual_seed((args.seed if args.data_seed is None else args.data_seed) + epoch)
    for part in (loader, loader.sampler, loader.batch_sampler, loader.dataset):
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch)


def stateful_source(loader: DataLoader[Any]) -> Any | None:
    """Find what knows its own position in the data (`state_dict` and `load_state_dict`): the loader or its stream."""
    stream = loader.dataset if loader.num_workers == 0 else None
    while isinstance(stream, RankStream | _Stream):
        stream = stream.source
    for source in (loader, stream):
        if hasattr(source, "state_dict") and hasattr(source, "load_state_dict"):
            return source
    return None


def continue_epoch(
    loader: DataLoader[Any], skip: int, state: Mapping[str, Any] | None = None
) -> tuple[Iterator[Any], Callable[[], object]]:
    """Iterate over what an epoch has behind its first *skip* batches.

    Examples of a map-style dataset are skipped without being read. So are those of a stream that has a *state* of its
    own; any other stream has to be read up to the position.

    The function that comes with the iterator draws the order of the epoch. Call it while the random numbers are those
    of the beginning of the epoch.
    """
    if state is not None and (source := stateful_source(loader)) is not None:
        source.load_state_dict(state)
        return iter(loader), lambda: None
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        batches = iter(loader)
        return batches, lambda: collections.deque(itertools.islice(batches, skip), maxlen=0)
    remaining = _RemainingBatches(loader.batch_sampler, skip)
    rest: DataLoader[Any] = DataLoader(
        loader.dataset,
        batch_sampler=remaining,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        generator=loader.generator,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )
    return iter(rest), remaining.draw


def steps_of(batches: int | None, args: TrainingArguments) -> tuple[int, int]:
    """Settle the number of optimizer steps and of epochs, from the batches of an epoch (None if unknown).

    Raises:
        OptionError: The length is unknown and max_steps was not given.
    """
    if batches is None:
        if args.max_steps <= 0:
            raise OptionError(
                "The length of the train dataset is unknown, so num_train_epochs says nothing. Set max_steps."
            )
        return args.max_steps, sys.maxsize
    steps = math.ceil(batches / args.gradient_accumulation_steps)
    total = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * steps)
    return total, math.ceil(total / steps)


def length_of(loader: DataLoader[Any]) -> int | None:
    """Return the number of batches, None if it is not known."""
    try:
        return len(loader)
    except TypeError:
        return None


def in_groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Yield the batches of one optimizer step together; the last group of an epoch may be smaller.

    Reads nothing ahead.
    """
    if size == 1:
        for batch in batches:
            yield [batch]
        return
    while group := list(itertools.islice(batches, size)):
        yield group


class RankSlice(Subset[Any]):  # type: ignore[misc]
    """Holds the examples that one rank evaluates.

    Those of all ranks in their order are the whole dataset, each once.
    """


class _OwnLoader(DataLoader[Any]):  # type: ignore[misc]
    """Is a loader made here: its order depends on seed and epoch alone."""


class _RemainingBatches:
    """Leaves out the first batches of indices; the order is drawn by `draw`, not when the first batch is wanted."""

    def __init__(self, batches: Iterable[list[int]], skip: int) -> None:
        self._all = batches
        self._skip = skip
        self._rest: Iterator[list[int]] | None = None

    def draw(self) -> None:
        """Draw the order, and pass over what was used."""
        if self._rest is None:
            self._rest = iter(self._all)
            collections.deque(itertools.islice(self._rest, self._skip), maxlen=0)

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        self.draw()
        assert self._rest is not None
        return next(self._rest)

    def __len__(self) -> int:
        return max(0, len(self._all) - self._skip)  # type: ignore[arg-type]


class _Stream(IterableDataset[Any]):  # type: ignore[misc]
    """Makes a dataset of anything that can be iterated."""

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return iter(self.source)


class RankStream(IterableDataset[Any]):  # type: ignore[misc]
    """Takes each rank's own examples of a stream in turn; `even` leaves out a rest that is not enough for all."""

    def __init__(self, source: IterableDataset[Any], ranks: Ranks, *, even: bool) -> None:
        self.source = source
        self._ranks = ranks
        self._even = even

    def set_epoch(self, epoch: int) -> None:
        """Tell the source the epoch, if it wants to know."""
        if hasattr(self.source, "set_epoch"):
            self.source.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        source = iter(self.source)
        rank, size = self._ranks.rank, self._ranks.size
        while len(group := list(itertools.islice(source, size))) == size or (group and not self._even):
            if rank < len(group):
                yield group[rank]
