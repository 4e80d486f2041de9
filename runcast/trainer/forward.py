"""How a batch goes through a model and what comes out is read.

The same for transformers, timm and a module written by hand.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from runcast.core.errors import OptionError

LABELS = ("labels", "label", "label_ids", "targets", "target")
IGNORED_LABEL = -100  # what torch's cross entropy and transformers leave out


class Result(NamedTuple):
    """Is what a forward pass gives: `loss` is a 0-d tensor or None, `predictions` the outputs without the loss."""

    loss: torch.Tensor | None
    predictions: Any
    labels: Any


class Forward:
    """Calls a model on a batch.

    A batch is a mapping or a dataclass (labels under one of the label names), a tuple (labels last), or a tensor (no
    labels). If the model's `forward` takes the labels by name and no `compute_loss` was given, the model computes the
    loss. Otherwise `compute_loss(predictions, labels)` does; without it, whole-number labels of logits mean cross
    entropy. Entries that `forward` does not take are left out; a single entry goes to it whatever its name.
    """

    def __init__(
        self, model: nn.Module, label_names: list[str] | None, compute_loss: Callable[[Any, Any], torch.Tensor] | None
    ) -> None:
        parameters = inspect.signature(model.forward).parameters
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._takes = frozenset(parameters)
        self._label_names = tuple(label_names or LABELS)
        self._compute_loss = compute_loss
        self._model_has_loss = compute_loss is None and not self._takes.isdisjoint(self._label_names)

    def __call__(self, model: nn.Module, batch: Any) -> Result:
        """Run the model; in the mode (training or not) and precision that the caller has set."""
        labels = None
        if isinstance(batch, list | tuple):
            *inputs, labels = batch if len(batch) > 1 else (*batch, None)
            outputs = model(*inputs)
        elif isinstance(batch, torch.Tensor):
            outputs = model(batch)
        else:
            if dataclasses.is_dataclass(batch):
                batch = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
            if not isinstance(batch, Mapping):
                raise OptionError(
                    f"A batch is a {type(batch).__name__}, and must be a mapping, a dataclass, a tuple or a tensor. "
                    "Give a data_collator that makes one."
                )
            labels = self._labels_of(batch)
            outputs = self._call_by_name(model, batch, labels)
        return self._read(outputs, labels)

    def accepted(self, batch: Any) -> Any:
        """Leave out of a batch what `forward` does not take by name, and the labels."""
        if dataclasses.is_dataclass(batch):
            batch = vars(batch)
        if not isinstance(batch, Mapping):
            return batch
        inputs = {
            key: value
            for key, value in batch.items()
            if key not in self._label_names and (self._takes_all or key in self._takes)
        }
        return inputs or tuple(value for key, value in batch.items() if key not in self._label_names)

    def _call_by_name(self, model: nn.Module, batch: Mapping[str, Any], labels: Any) -> Any:
        if self._takes_all:
            inputs = {
                key: value for key, value in batch.items() if self._model_has_loss or key not in self._label_names
            }
        else:
            unwanted = self._label_names if self._compute_loss else ()
            inputs = {key: value for key, value in batch.items() if key in self._takes and key not in unwanted}
        if self._model_has_loss and labels is not None and self._takes.isdisjoint(inputs.keys() & self._label_names):
            inputs["labels"] = labels
        if inputs:
            return model(**inputs)
        alone = [value for key, value in batch.items() if key not in self._label_names]
        if len(alone) != 1:
            raise OptionError(
                f"The batch has {sorted(batch)}, but the model's forward takes {sorted(self._takes)}. Give the "
                "entries the same names."
            )
        return model(alone[0])

    def _labels_of(self, batch: Mapping[str, Any]) -> Any:
        found = [batch[name] for name in self._label_names if name in batch]
        return found[0] if len(found) == 1 else (tuple(found) or None)

    def _read(self, outputs: Any, labels: Any) -> Result:
        loss, predictions = None, outputs
        if isinstance(outputs, torch.Tensor):
            if outputs.ndim == 0 and self._model_has_loss:
                loss, predictions = outputs, None
        elif isinstance(outputs, Mapping):
            loss = outputs.get("loss")
            predictions = (
                outputs["logits"]
                if "logits" in outputs
                else _only([v for k, v in outputs.items() if k != "loss" and v is not None])
            )
        elif isinstance(outputs, list | tuple) and self._model_has_loss and labels is not None:
            loss, predictions = outputs[0], _only(list(outputs[1:]))
        if self._compute_loss is not None and labels is not None:
            loss = self._compute_loss(predictions, labels)
        elif loss is None and labels is not None:
            loss = _default_loss(predictions, labels)
        return Result(loss, predictions, labels)


def count_items(batch: Any, label_names: list[str] | None = None, *, shifted: bool = False) -> int | torch.Tensor:
    """Count what a mean loss is a mean of.

    Labels that are not ignored where each example has many (tokens), else examples.

    `shifted` says that the model predicts the next token, so that the first label of each example does not count.
    The number of labels that are on a device already stays there: nothing waits for it.
    """
    if has_token_labels(batch, label_names):
        labels = _labels_in(batch, label_names)
        count = (labels[:, 1:] if shifted else labels).ne(IGNORED_LABEL).sum()
        return int(count) if count.device.type == "cpu" else count
    return example_count(batch)


def example_count(batch: Any) -> int:
    """Count the examples of a batch."""
    if isinstance(batch, list | tuple):
        return len(batch[0])
    if isinstance(batch, torch.Tensor):
        return len(batch)
    values = batch.values() if isinstance(batch, Mapping) else vars(batch).values()
    return len(next(iter(values)))


def has_token_labels(batch: Any, label_names: list[str] | None = None) -> bool:
    """Tell whether each example has many whole-number labels.

    Then their number, not that of the examples, is what a mean loss is a mean of.
    """
    labels = _labels_in(batch, label_names)
    return isinstance(labels, torch.Tensor) and labels.ndim > 1 and not labels.is_floating_point()


def _labels_in(batch: Any, label_names: list[str] | None) -> Any:
    if isinstance(batch, list | tuple):
        return batch[-1]
    if isinstance(batch, torch.Tensor):
        return None
    entries = batch if isinstance(batch, Mapping) else vars(batch)
    return next((entries[name] for name in label_names or LABELS if name in entries), None)


def _only(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _default_loss(predictions: Any, labels: Any) -> torch.Tensor | None:
    if not isinstance(predictions, torch.Tensor) or not isinstance(labels, torch.Tensor) or labels.is_floating_point():
        return None
    if predictions.ndim == 2 and labels.ndim == 1:
        return nn.functional.cross_entropy(predictions, labels)
    if predictions.ndim == labels.ndim + 1:
        classes_last = predictions.flatten(0, -2) if predictions.shape[:-1] == labels.shape else None
        if classes_last is not None:
            return nn.functional.cross_entropy(classes_last, labels.flatten())
        return nn.functional.cross_entropy(predictions, labels)
    return None
