"""Data becomes batches, in groups of one optimizer step."""

import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, IterDataPipe

from runcast.core.errors import OptionError
from runcast.trainer.data.collate import collate_examples
from runcast.trainer.data.order import order_seed, without_padding
from runcast.trainer.data.samplers import EpochOrder, OwnLoader, RankSlice
from runcast.trainer.data.streams import RankStream
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.values.numbers import a

_AS_EXAMPLES = "a list of examples, such as [{'x': x, 'labels': y} for x, y in zip(xs, ys)]"


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
    if (instead := _instead_of(data)) is not None:
        raise OptionError(f"The {kind} dataset is {a(type(data))}, and no examples can be read from it. {instead}")
    if not isinstance(data, DataLoader) and length_of(data) == 0:
        raise OptionError(f"The {kind} dataset is empty.")
    if isinstance(data, DataLoader):
        loader = data if train or ranks.size == 1 else without_padding(data, ranks)
    else:
        loader = _make_own_loader(data, args, train=train, device=device, collate=collate, ranks=ranks)
    if (train or loader is data) and length_of(loader) == 0:
        raise OptionError(_no_batch(loader, kind))
    return loader


def _instead_of(data: Any) -> str | None:
    """Say what to give in place of what holds data, but is not a dataset; None of anything else."""
    if isinstance(data, str | bytes | os.PathLike):
        return "Read the file first."
    if isinstance(data, Mapping) and data and 0 not in data:
        return f"It has {', '.join(map(repr, data))}: give one of these, or {_AS_EXAMPLES}."
    if hasattr(data, "iloc"):  # of pandas, where data[0] is a column
        return "Give its rows: frame.to_dict('records')."
    shapes: list[Any] = []
    if isinstance(data, tuple) and 1 < len(data) < 9:
        shapes = [getattr(part, "shape", None) for part in data]
    if all(shapes) and len({shape[0] for shape in shapes}) == 1 < len(set(shapes)):
        return f"Its arrays are columns: give torch.utils.data.TensorDataset(*tensors), or {_AS_EXAMPLES}."
    return None


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
            strategy, group = args.train_sampling_strategy, batch_size * ranks.size * args.gradient_accumulation_steps
            lengths = lengths_of(data, args.length_column_name) if strategy == "group_by_length" else ()
            sampler = EpochOrder(len(data), order_seed(args), ranks, strategy, lengths, group)
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
        multiprocessing_context=args.dataloader_multiprocessing_context if workers else None,
        in_order=args.dataloader_in_order,
    )


def as_loader(batches: Any) -> DataLoader[Any]:
    """Return a loader as it is, and anything else that can be iterated as a loader of its items, which are batches."""
    return batches if isinstance(batches, DataLoader) else DataLoader(_Batches(batches), None, collate_fn=_same)


class _Batches(IterableDataset[Any]):  # type: ignore[misc]
    """Batches that somebody else makes."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _same(batch: Any) -> Any:
    return batch


def lengths_of(data: Any, column: str) -> list[int]:
    """Return the lengths of the examples: an entry of that name, else the number of tokens.

    Raises:
        OptionError: The examples have neither.
    """
    if column in (getattr(data, "column_names", None) or ()):
        return list(data[column])
    examples = [data[index] for index in range(len(data))]
    if all(isinstance(example, Mapping) and column in example for example in examples):
        return [int(example[column]) for example in examples]
    if all(isinstance(example, Mapping) and "input_ids" in example for example in examples):
        return [len(example["input_ids"]) for example in examples]
    raise OptionError(f"group_by_length needs examples with input_ids, or with their length under {column!r}.")


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


def length_of(data: Any) -> int | None:
    """Return the number of batches of a loader, or of examples of a dataset, None if it is not known."""
    try:
        return len(data)
    except TypeError:
        return None


def in_groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Yield the batches of one optimizer step together; the last group of an epoch may be smaller.

    Reads nothing ahead.
    """
    while group := list(itertools.islice(batches, size)):
        yield group


def evenly(groups: Iterator[list[Any]], ranks: Ranks) -> Iterator[list[Any]]:
    """Yield groups as long as every rank has one, cut to the shortest: the ranks compute together or not at all."""
    while count := ranks.least(len(group := next(groups, []))):
        yield group[:count]
