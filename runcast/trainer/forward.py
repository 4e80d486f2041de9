"""How a batch goes through a model and what comes out is read.

The same for transformers, timm and a module written by hand.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from runcast.core.errors import OptionError

# At 0.7 ms a step it shows whether `list | tuple` is made each time, and whether a dict has to be asked what it is.
_SEQUENCE, MAPPING = (list, tuple), (dict, Mapping)
LABELS = ("labels", "label", "label_ids", "targets", "target")
_WHOLE = frozenset((torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8))
IGNORED_LABEL = -100  # what torch's cross entropy and transformers leave out


class Result(NamedTuple):
    """The result of a forward pass: `loss` is a 0-d tensor or None, `predictions` the outputs without the loss."""

    loss: torch.Tensor | None
    predictions: Any
    labels: Any


class _Plan(NamedTuple):
    """Which entries of a batch go into a model, under which names, and which are labels."""

    inputs: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    alone: str | None


class Forward:
    """The call of a model on a batch.

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
        ignored = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", None) or ()
        self._not_predicted = frozenset(("loss", "past_key_values", *ignored))
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
            batch = batch if isinstance(batch, MAPPING) else _entries(batch)
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
        elif isinstance(outputs, _SEQUENCE) and not hasattr(outputs, "loss"):
            if self._model_has_loss and labels is not None:
                loss, predictions = self._loss_among(outputs)
            elif self._model_has_loss:
                predictions = _only([value for value in outputs if value is not None])
        elif (named := _named(outputs)) is not None:
            loss = named.get("loss")
            predictions = named.get("logits")
            if predictions is None:
                predictions = _only([v for k, v in named.items() if k not in self._not_predicted and v is not None])
        if self._compute_loss is not None and labels is not None:
            loss = self._compute_loss(predictions, labels)
        elif loss is None and labels is not None:
            loss = _default_loss(predictions, labels)
        if loss is not None and loss.ndim and loss.numel() == 1:
            loss = loss.reshape(())
        return Result(loss, predictions, labels)

    def _loss_among(self, outputs: Sequence[Any]) -> tuple[Any, Any]:
        """Find the loss in a tuple: the first single number, which may stand behind the logits; else there is none.

        What comes first and is to be learned from is a loss as well, of the wrong shape.
        """
        tensors = [(n, value) for n, value in enumerate(outputs) if isinstance(value, torch.Tensor)]
        place = next((n for n, value in tensors if value.ndim < 2 and value.numel() == 1), None)
        if place is None and tensors and tensors[0][1].ndim == 1 and tensors[0][1].requires_grad:
            place = tensors[0][0]
        if place is None:
            return None, _only([value for value in outputs if value is not None])
        return outputs[place], _only([v for n, v in enumerate(outputs) if n != place and v is not None])


def count_items(batch: Any, label_names: list[str] | None = None, *, shifted: bool = False) -> int | torch.Tensor:
    """Count what a mean loss is a mean of.

    Whole-number labels that are not ignored, of tokens or of examples; where there are none, examples.

    `shifted` says that the model predicts the next token, so that the first label of each example does not count.
    The number of labels that are on a device already stays there: nothing waits for it.
    """
    count = count_labels(_labels_in(batch, label_names), shifted=shifted)
    return example_count(batch) if count is None else count


def count_labels(labels: Any, *, shifted: bool = False) -> int | torch.Tensor | None:
    """Count the labels that are not ignored; None if they are no whole numbers."""
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
    if isinstance(batch, _SEQUENCE):
        parts: Any = batch
    elif isinstance(batch, torch.Tensor):
        parts = (batch,)
    else:
        parts = (batch if isinstance(batch, MAPPING) else _entries(batch)).values()
    for part in parts:
        if isinstance(part, torch.Tensor) and part.ndim:
            return int(part.shape[0])  # len of a tensor takes 2 µs
    return _length_of(parts) or 1


def _length_of(parts: Any) -> int | None:
    """Find the number of examples in parts that are no tensors: structures of tensors, or lists."""
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
    if isinstance(batch, _SEQUENCE):
        return batch[-1]
    if isinstance(batch, torch.Tensor):
        return None
    entries = batch if isinstance(batch, MAPPING) else _entries(batch)
    return next((entries[name] for name in label_names or LABELS if name in entries), None)


def _entries(batch: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(batch):
        raise OptionError(
            f"A batch is a {type(batch).__name__}, and must be a mapping, a dataclass, a tuple or a tensor. Give a "
            "data_collator that makes one."
        )
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


def _named(outputs: Any) -> Mapping[str, Any] | None:
    """Return outputs by name: of a mapping, a named tuple, a dataclass or another object with a `loss` or `logits`."""
    if isinstance(outputs, MAPPING):
        return outputs
    if hasattr(outputs, "_asdict"):
        return dict(outputs._asdict())
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    has_any = hasattr(outputs, "loss") or hasattr(outputs, "logits")
    return dict(vars(outputs)) if has_any and hasattr(outputs, "__dict__") else None


def _only(values: list[Any]) -> Any:
    if not values:
        return None
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
