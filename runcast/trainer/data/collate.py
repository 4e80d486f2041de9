"""Examples become a batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.data import default_collate

from runcast.core.errors import OptionError


def collator_for(processing_class: Any) -> Callable[[list[Any]], Any]:
    """Return what makes batches where no collator is given: a tokenizer (or feature extractor) pads them."""
    if not hasattr(processing_class, "padding_side") or not callable(getattr(processing_class, "pad", None)):
        return collate_examples

    def pad(examples: list[Any]) -> Any:
        if not isinstance(examples[0], Mapping):
            return collate_examples(examples)
        return processing_class.pad(examples, padding=True, return_tensors="pt")

    return pad


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
