"""What a mean loss is a mean of: the labels, or the examples, of a batch."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from runcast.callbacks.outputs import IGNORED_LABEL
from runcast.core.errors import OptionError

# At 0.7 ms a step it shows whether `list | tuple` is made each time, and whether a dict has to be asked what it is.
SEQUENCE, MAPPING = (list, tuple), (dict, Mapping)
LABELS = ("labels", "label", "label_ids", "targets", "target")
_WHOLE = frozenset((torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8))


def count_items(batch: Any, label_names: list[str] | None = None, *, shifted: bool = False) -> int | torch.Tensor:
    """Count what a mean loss is a mean of.

    Whole-number labels that are not ignored, of tokens or of examples; where there are none, examples.

    `shifted` says that the model predicts the next token, so that the first label of each example does not count.
    The number of labels that are on a device already stays there: nothing waits for it.
    """
    count = count_labels(_labels_in(batch, label_names), shifted=shifted)
    return example_count(batch) if count is None else count


def count_labels(labels: Any, *, shifted: bool = False) -> int | torch.Tensor | None:
    """Count the labels that are not ignored; None if they are not integers."""
    if isinstance(labels, tuple):
        labels = labels[0]
    if not isinstance(labels, torch.Tensor) or labels.dtype not in _WHOLE or not labels.ndim:
        return None
    if shifted and labels.ndim > 1:
        labels = labels[:, 1:]
    if labels.is_cpu:
        return int(np.count_nonzero(labels.numpy() != IGNORED_LABEL))
    return labels.ne(IGNORED_LABEL).sum()


def weighted(loss: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    """Weigh a loss. One that is a mean of nothing, which is NaN, has the weight 0, and counts as 0."""
    if isinstance(weight, torch.Tensor):
        return torch.where(weight > 0, loss * weight, 0.0)
    return loss * weight if weight else loss.nan_to_num(0.0, 0.0, 0.0) * 0.0


def example_count(batch: Any) -> int:
    """Count the examples of a batch: the length of its first tensor, else of its first list."""
    parts: Any
    if isinstance(batch, MAPPING):
        parts = batch.values()
    elif isinstance(batch, SEQUENCE):
        parts = batch
    else:
        parts = (batch,) if isinstance(batch, torch.Tensor) else entries_of(batch).values()
    for part in parts:
        if isinstance(part, torch.Tensor) and part.ndim:
            return part.shape[0]  # type: ignore[no-any-return] # len of a tensor takes 2 µs
    return _length_of(parts) or 1


def tokens_of(batch: Any, name: str) -> torch.Tensor | None:
    """Return the tokens in a batch: the entry of that name, if it is whole numbers of two dimensions."""
    tokens = batch.get(name) if isinstance(batch, MAPPING) else None
    if isinstance(tokens, torch.Tensor) and tokens.ndim == 2 and not tokens.is_floating_point():
        return tokens
    return None


def _length_of(parts: Any) -> int | None:
    """Find the number of examples in parts that are not tensors: structures of tensors, or lists."""
    for part in parts:
        if isinstance(part, MAPPING) or (isinstance(part, tuple) and any(isinstance(p, torch.Tensor) for p in part)):
            inner = list(part.values() if isinstance(part, MAPPING) else part)
            tensor = next((p for p in inner if isinstance(p, torch.Tensor) and p.ndim), None)
            if (found := _length_of(inner) if tensor is None else len(tensor)) is not None:
                return found
    return next(
        (len(part) for part in parts if isinstance(part, list | tuple) or (hasattr(part, "shape") and part.ndim)), None
    )


def has_token_labels(batch: Any, label_names: list[str] | None = None) -> bool:
    """Return whether each example has many whole-number labels.

    Then their number, not that of the examples, is what a mean loss is a mean of.
    """
    labels = _labels_in(batch, label_names)
    return isinstance(labels, torch.Tensor) and labels.ndim > 1 and not labels.is_floating_point()


def _labels_in(batch: Any, label_names: list[str] | None) -> Any:
    if isinstance(batch, SEQUENCE):
        return batch[-1]
    if isinstance(batch, torch.Tensor):
        return None
    entries = batch if isinstance(batch, MAPPING) else entries_of(batch)
    return next((entries[name] for name in label_names or LABELS if name in entries), None)


def entries_of(batch: Any) -> dict[str, Any]:
    """Return the entries of a batch by name."""
    if not dataclasses.is_dataclass(batch):
        raise OptionError(
            f"A batch is a {type(batch).__name__}, and must be a mapping, a dataclass, a tuple or a tensor. Give a "
            "data_collator that makes one."
        )
    return fields_of(batch)


def fields_of(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name, without copying what is in them."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
