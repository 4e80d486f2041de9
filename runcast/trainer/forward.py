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

# At 0.7 ms a step it shows whether `list | tuple` is made each time, and whether a dict has to be asked what it is.
_SEQUENCE, _MAPPING = (list, tuple), (dict, Mapping)
LABELS = ("labels", "label", "label_ids", "targets", "target")
IGNORED_LABEL = -100  # what torch's cross entropy and transformers leave out


class Result(NamedTuple):
    """Is what a forward pass gives: `loss` is a 0-d tensor or None, `predictions` the outputs without the loss."""

    loss: torch.Tensor | None
    predictions: Any
    labels: Any


class _Plan(NamedTuple):
    """Says which entries of a batch go into a model, under which names, and which are labels."""

    inputs: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    alone: str | None


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
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def __call__(self, model: nn.Module, batch: Any) -> Result:
        """Run the model; in the mode (training or not) and precision that the caller has set."""
        labels = None
        if isinstance(batch, _SEQUENCE):
            *inputs, labels = batch if len(batch) > 1 else (*batch, None)
            outputs = model(*inputs)
        elif isinstance(batch, torch.Tensor):
            outputs = model(batch)
        else:
            batch = batch if isinstance(batch, _MAPPING) else _entries(batch)
            plan = self._plans.get(names := tuple(batch)) or self._plan(names)
            if plan.labels:
                labels = batch[plan.labels[0]] if len(plan.labels) == 1 else tuple(batch[name] for name in plan.labels)
            outputs = (
                model(batch[plan.alone])
                if plan.alone is not None
                else model(**{name: batch[key] for name, key in plan.inputs})
            )
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

    def _plan(self, names: tuple[str, ...]) -> "_Plan":
        """Settle, once for batches with these entries, what of them goes where."""
        labels = tuple(name for name in self._label_names if name in names)
        without = () if self._model_has_loss else self._label_names
        taken = names if self._takes_all else tuple(name for name in names if name in self._takes)
        inputs = {name: name for name in taken if name not in without}
        if self._model_has_loss and labels and self._takes.isdisjoint(inputs.keys() & set(self._label_names)):
            inputs[next((name for name in self._label_names if name in self._takes), "labels")] = labels[0]
        alone = [name for name in names if name not in self._label_names]
        if not inputs and len(alone) != 1:
            raise OptionError(
                f"The batch has {sorted(names)}, but the model's forward takes {sorted(self._takes)}. Give the "
                "entries the same names."
            )
        plan = _Plan(tuple(inputs.items()), labels, None if inputs else alone[0])
        self._plans[names] = plan
        return plan

    def _read(self, outputs: Any, labels: Any) -> Result:
        loss, predictions = None, outputs
        if isinstance(outputs, torch.Tensor):
            if outputs.ndim == 0 and self._model_has_loss:
                loss, predictions = outputs, None
        elif isinstance(outputs, _MAPPING):
            loss = outputs.get("loss")
            predictions = (
                outputs["logits"]
                if "logits" in outputs
                else _only([v for k, v in outputs.items() if k != "loss" and v is not None])
            )
        elif isinstance(outputs, _SEQUENCE) and self._model_has_loss and labels is not None:
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
    if isinstance(batch, _SEQUENCE):
        first = batch[0]
    elif isinstance(batch, torch.Tensor):
        first = batch
    else:
        first = next(iter((batch if isinstance(batch, _MAPPING) else _entries(batch)).values()))
    return first.shape[0] if isinstance(first, torch.Tensor) else len(first)  # len of a tensor takes 2 µs


def has_token_labels(batch: Any, label_names: list[str] | None = None) -> bool:
    """Tell whether each example has many whole-number labels.

    Then their number, not that of the examples, is what a mean loss is a mean of.
    """
    labels = _labels_in(batch, label_names)
    return isinstance(labels, torch.Tensor) and labels.ndim > 1 and not labels.is_floating_point()


def _labels_in(batch: Any, label_names: list[str] | None) -> Any:
    if isinstance(batch, _SEQUENCE):
        return batch[-1]
    if isinstance(batch, torch.Tensor):
        return None
    entries = batch if isinstance(batch, _MAPPING) else _entries(batch)
    return next((entries[name] for name in label_names or LABELS if name in entries), None)


def _entries(batch: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(batch):
        raise OptionError(
            f"A batch is a {type(batch).__name__}, and must be a mapping, a dataclass, a tuple or a tensor. Give a "
            "data_collator that makes one."
        )
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


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
