"""Examples become a batch."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch.utils.data import default_collate

from runcast.core.errors import OptionError
from runcast.trainer.model.items import MAPPING, fields_of

# What a collection, an array or a picture has, and the examples of a plain class have not.
_NOT_PLAIN = ("__getitem__", "__array__", "__array_interface__")


class Padding:
    """A collator that pads, for a tokenizer or a feature extractor."""

    def __init__(self, processing_class: Any) -> None:
        self._processing_class = processing_class

    def __call__(self, examples: list[Any]) -> Any:
        """Make a batch of examples."""
        if not isinstance(examples[0], Mapping):
            return collate_examples(examples)
        return self._processing_class.pad(examples, padding=True, return_tensors="pt")


def collator_for(processing_class: Any) -> Callable[[list[Any]], Any]:
    """Return what makes batches where no collator is given: a tokenizer pads, anything else has no part in it."""
    pads = hasattr(processing_class, "padding_side") and hasattr(processing_class, "pad")
    return Padding(processing_class) if pads else collate_examples


def is_own(collate: Any) -> bool:
    """Return whether a collator is one of those here, which want no other entries than the model."""
    return collate is collate_examples or isinstance(collate, Padding)


class WithLabels:
    """A collator whose batches have labels that examples call `label` or `label_ids` as `labels`, as in transformers.

    Methods of a subclass take them by that name.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, examples: list[Any]) -> Any:
        """Make a batch of examples."""
        batch = self._collate(examples)
        is_named = isinstance(batch, MAPPING)
        for name in ("label", "label_ids"):
            if is_named and name in batch and "labels" not in batch:
                batch["labels"] = batch.pop(name)
        return batch


class _Example(dict[str, Any]):
    """The used entries of an example; another one is there for who asks for it by name."""

    def __init__(self, whole: Mapping[str, Any], used: Collection[str]) -> None:
        super().__init__((key, value) for key, value in whole.items() if key in used)
        self._whole = whole

    def __missing__(self, key: str) -> Any:
        return self._whole[key]


class UsedColumns:
    """A collator that is given only the entries of examples that a model takes, and the labels.

    Examples of which the model takes no entry by name stay as they are: a single one may have any name.

    Args:
        collate: Makes a batch.
        used: What the model takes by name.
        labels: Names that labels may have, in place of one that the model takes.
        named: The names that labels have, if they are known.
    """

    def __init__(
        self,
        collate: Callable[[list[Any]], Any],
        used: Collection[str],
        labels: Collection[str],
        named: Collection[str] | None = None,
    ) -> None:
        self._collate, self._used, self._labels = collate, frozenset(used) | frozenset(named or ()), frozenset(labels)
        self._dropped: dict[frozenset[str], list[str]] = {}

    def __call__(self, examples: list[Any]) -> Any:
        """Make a batch of what the model takes of the examples."""
        columns: frozenset[str] = frozenset().union(*(example for example in examples if isinstance(example, MAPPING)))
        dropped = self._dropped.get(columns)
        if dropped is None:
            dropped = self._dropped[columns] = self.unused(columns)
        if not dropped:
            return self._collate(examples)
        kept = columns.difference(dropped)
        return self._collate(
            [_Example(example, kept) if isinstance(example, MAPPING) else example for example in examples]
        )

    def unused(self, columns: Iterable[str]) -> list[str]:
        """List those columns that are dropped."""
        columns = list(columns)
        taken = self._used.intersection(columns)
        if not taken - self._labels:
            return []
        kept = taken if taken & self._labels else taken | self._labels
        return [column for column in columns if column not in kept]


def collate_examples(examples: list[Any]) -> Any:
    """Make a batch of examples: dicts, objects (become dicts), tuples, tensors, arrays or numbers of equal shape.

    Texts stay a list, and so does what cannot be part of a tensor.

    Raises:
        OptionError: The examples differ in size or in their entries.
    """
    first = examples[0]
    if dataclasses.is_dataclass(first):
        examples = [fields_of(example) for example in examples]
    elif getattr(first, "__dict__", None) and not any(hasattr(type(first), name) for name in _NOT_PLAIN):
        examples = [vars(example) for example in examples]
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
        if isinstance(values[0], float):  # default_collate would make doubles, which no weight can be multiplied with
            return torch.tensor(values, dtype=torch.get_default_dtype())
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
