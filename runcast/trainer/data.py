"""Data becomes batches, in groups of one optimizer step."""

import dataclasses
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, IterDataPipe, default_collate

from runcast.core.errors import OptionError
from runcast.trainer.arguments import TrainingArguments
from runcast.trainer.distribution import Ranks
from runcast.trainer.order import EpochOrder, OwnLoader, RankSlice, without_padding
from runcast.trainer.streams import RankStream


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
        OptionError: The dataset is empty, too small for one batch, or none at all.
    """
    ranks = ranks or Ranks()
    kind = "train" if train else "eval"
    if data is None:
        raise OptionError(f"There is no {kind} dataset. Give the Trainer one: Trainer(..., {kind}_dataset=...).")
    if isinstance(data, Sized) and not isinstance(data, DataLoader) and len(data) == 0:
        raise OptionError(f"The {kind} dataset is empty.")
    if isinstance(data, DataLoader):
        loader = data if train or ranks.size == 1 else without_padding(data, ranks)
    else:
        loader = _make_own_loader(data, args, train=train, device=device, collate=collate, ranks=ranks)
    if (train or loader is data) and length_of(loader) == 0:
        raise OptionError(_no_batch(loader, kind))
    return loader


def _make_own_loader(
    data: Any,
    args: TrainingArguments,
    *,
    train: bool,
    device: torch.device,
    collate: Callable[[list[Any]], Any] | None,
    ranks: Ranks,
) -> DataLoader[Any]:
    batch_size = args.per_device_train_batch_size if train else args.per_device_eval_batch_size
    workers = args.dataloader_num_workers
    sampler = None
    if is_stream(data):
        if ranks.size > 1 or not isinstance(data, IterDataPipe):  # DataLoader shares out pipes among its workers itself
            data = RankStream(data, ranks, even=train, batch_size=batch_size)
    else:
        sizes = ranks.gather(len(data))
        if len(set(sizes)) > 1:
            raise OptionError(
                f"The ranks have {'train' if train else 'eval'} datasets of different lengths: {sizes}. Give each the "
                "same dataset, which the Trainer shares out; for data that is split already, give a DataLoader."
            )
        if train:
            sampler = EpochOrder(len(data), args.seed if args.data_seed is None else args.data_seed, ranks)
        elif ranks.size > 1:
            size, rank = ranks.size, ranks.rank
            data = RankSlice(data, range(len(data) * rank // size, len(data) * (rank + 1) // size))
    return OwnLoader(
        data,
        batch_size=batch_size,
        sampler=sampler,
        generator=torch.Generator(),
        collate_fn=collate or collate_examples,
        drop_last=train and args.dataloader_drop_last,
        num_workers=workers,
        pin_memory=args.dataloader_pin_memory and device.type in ("cuda", "xpu"),
        persistent_workers=args.dataloader_persistent_workers and workers > 0,
        prefetch_factor=args.dataloader_prefetch_factor if workers else None,
    )


def is_stream(data: Any) -> bool:
    """Return whether a dataset can only be iterated."""
    return isinstance(data, IterableDataset) or not hasattr(data, "__getitem__")


def _no_batch(loader: DataLoader[Any], kind: str) -> str:
    """Return why a loader has no batch."""
    if not loader.drop_last:
        return f"The {kind} dataset is empty: its DataLoader has no batch."
    return (
        f"The {kind} dataset has fewer examples than a batch of {loader.batch_size} on each device, and the last batch "
        "is dropped if it is not full, so no batch is left. Choose a smaller batch, or dataloader_drop_last=False."
    )


def collate_examples(examples: list[Any]) -> Any:
    """Make a batch of examples: dicts, dataclasses (become dicts), tuples, tensors, arrays or numbers of equal shape.

    Texts stay a list, and so does what cannot be part of a tensor.

    Raises:
        OptionError: The examples differ in size or in their entries.
    """
    first = examples[0]
    if dataclasses.is_dataclass(first):
        examples = [
            {field.name: getattr(example, field.name) for field in dataclasses.fields(example)} for example in examples
        ]
        first = examples[0]
    if isinstance(first, Mapping):
        if any(example.keys() != first.keys() for example in examples):
            differing = sorted({str(key) for example in examples for key in example.keys() ^ first.keys()})
            raise OptionError(
                f"The examples of a batch differ in their entries: {', '.join(differing)}. Give each example the same "
                "ones, or a data_collator that makes a batch of them."
            )
        return {key: _stack([example[key] for example in examples], f"values of {key!r}") for key in first}
    if isinstance(first, tuple):
        columns = zip(*examples, strict=True)
        return tuple(_stack(list(column), f"values of {place}") for place, column in enumerate(columns))
    return _stack(examples, "examples")


def _stack(values: list[Any], what: str) -> Any:
    if all(value is None for value in values):
        return None
    try:
        if isinstance(values[0], list):  # of numbers, as tokenizers and `datasets` give them, not a list of columns
            return torch.tensor(values)
        return default_collate(values)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        sizes = [tuple(value.shape) if hasattr(value, "shape") else _size(value) for value in values]
        if None in sizes:  # texts, None or objects: nothing that a tensor could hold
            return values
        if len(set(sizes)) == 1:
            return default_collate(values)
        listed = ", ".join(str(list(size or ())) for size in dict.fromkeys(sizes))
        raise OptionError(
            f"The {what} in a batch have different sizes: {listed}. Give a data_collator that pads them, such as "
            "DataCollatorWithPadding of transformers."
        ) from error


def _size(value: Any) -> tuple[int, ...] | None:
    """Return the size of nested lists of numbers, None for anything else."""
    if isinstance(value, int | float):
        return ()
    if not isinstance(value, list):
        return None
    inner = [_size(part) for part in value]
    return None if None in inner else (len(value), *(inner[0] if inner and inner[0] else ()))


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


def evenly(groups: Iterator[list[Any]], ranks: Ranks) -> Iterator[list[Any]]:
    """Yield groups as long as every rank has one, cut to the shortest: the ranks compute together or not at all."""
    while count := ranks.least(len(group := next(groups, []))):
        yield group[:count]
