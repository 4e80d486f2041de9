"""How a batch goes through a model and what comes out is read.

The same for transformers, timm and a module written by hand.
"""

import dataclasses
import inspect
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from runcast.callbacks.outputs import IGNORED_LABEL
from runcast.core.errors import OptionError
from runcast.trainer.model.items import LABELS, MAPPING, SEQUENCE, entries_of, fields_of


class Result(NamedTuple):
    """The result of a forward pass: `loss` is a 0-d tensor or None, `predictions` the outputs without the loss."""

    loss: torch.Tensor | None
    predictions: Any
    labels: Any


class _Plan(NamedTuple):
    """Which entries of a batch go into a model, under which names, and which are labels."""

    inputs: tuple[tuple[str, str], ...] | None  # None: all, under their own names
    label: str | None  # the only one
    labels: tuple[str, ...] | None  # of several
    alone: str | None


class BatchReader:
    """The call of a model on a batch.

    A batch is a mapping or a dataclass (labels under one of the label names), a tuple (labels last), or a tensor (no
    labels). If the model's `forward` takes labels by name (or `**kwargs`) and no `compute_loss` was given, they go to
    the model, which may compute the loss. Otherwise `compute_loss(predictions, labels)` does; without it, whole-number
    labels of logits mean cross entropy. Entries that `forward` does not take are left out; a single entry goes to it
    whatever its name.
    """

    def __init__(
        self, model: nn.Module, label_names: list[str] | None, compute_loss: Callable[[Any, Any], torch.Tensor] | None
    ) -> None:
        inside = inspect.signature(unwrapped(model).forward).parameters
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in inside.values())
        self._takes = frozenset((*inspect.signature(model.forward).parameters, *inside))
        self._label_names = tuple(label_names or LABELS)
        self._compute_loss = compute_loss
        self._taken_labels = () if label_names or compute_loss is not None else tuple(labels_taken_by(model))
        takes_labels = self._takes_all or self._taken_labels or not self._takes.isdisjoint(self._label_names)
        self._model_has_loss = compute_loss is None and bool(takes_labels)
        ignored = getattr(getattr(model, "config", None), "keys_to_ignore_at_inference", None) or ()
        self._not_predicted = frozenset(("loss", "past_key_values", *ignored))
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def __call__(self, model: nn.Module, batch: Any, ignore_keys: Sequence[str] | None = None) -> Result:
        """Run the model; in the mode (training or not) and precision that the caller has set."""
        return self.read(*self.run(model, batch), ignore_keys)

    def loss(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor | None, Any]:
        """Run the model for its loss alone; return it with the labels."""
        outputs, labels = self.run(model, batch)
        if self._compute_loss is None and isinstance(outputs, MAPPING):
            loss = outputs.get("loss")
            if isinstance(loss, torch.Tensor) and not loss.ndim:
                return loss, labels
        loss, _, labels = self.read(outputs, labels)
        return loss, labels

    def run(self, model: nn.Module, batch: Any) -> tuple[Any, Any]:
        """Return what the model makes of a batch, and the labels in it."""
        if not isinstance(batch, MAPPING):
            if isinstance(batch, SEQUENCE):
                *several, labels = batch if len(batch) > 1 else (*batch, None)
                return model(*several), labels
            if isinstance(batch, torch.Tensor):
                return model(batch), None
            batch = entries_of(batch)
        names = tuple(batch)
        inputs, label, labels, alone = self._plans.get(names) or self._plan(names)
        if label is not None:
            labels = batch[label]
        elif labels:
            labels = tuple(batch[name] for name in labels)
        if inputs is None:
            return model(**batch), labels
        if alone is not None:
            return model(batch[alone]), labels
        return model(**{name: batch[key] for name, key in inputs}), labels

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
        labels = self._labels_among(names)
        without = () if self._model_has_loss else self._label_names
        taken = names if self._takes_all else tuple(name for name in names if name in self._takes)
        inputs = {name: name for name in taken if name not in without}
        wanted = next((name for name in self._label_names if name in self._takes), None)
        usual = [name for name in labels if name in self._label_names]
        if wanted and usual and self._model_has_loss and self._takes.isdisjoint(usual):
            inputs[wanted] = usual[0]
        alone = [name for name in names if name not in self._label_names]
        if not inputs and len(alone) != 1:
            raise OptionError(
                f"The batch has {sorted(names)}, but the model's forward takes {sorted(self._takes)}. Give the "
                "entries the same names."
            )
        plan = _Plan(
            inputs=None if inputs == {name: name for name in names} else tuple(inputs.items()),
            label=labels[0] if len(labels) == 1 else None,
            labels=labels if len(labels) > 1 else None,
            alone=None if inputs else alone[0],
        )
        self._plans[names] = plan
        return plan

    def labels_of(self, batch: Any) -> Any:
        """Return the labels of a batch; None if it has none."""
        if not isinstance(batch, MAPPING):
            return batch[-1] if isinstance(batch, SEQUENCE) and len(batch) > 1 else None
        found = tuple(batch[name] for name in self._labels_among(batch) if batch.get(name) is not None)
        return found if len(found) > 1 else found[0] if found else None

    def _labels_among(self, names: Container[str]) -> tuple[str, ...]:
        """Find the labels among the entries of a batch: those that the model takes, unless it takes only others."""
        usual = tuple(name for name in self._label_names if name in names)
        if usual and self._takes.isdisjoint(usual):
            return usual
        return tuple(name for name in self._taken_labels if name in names) or usual

    def read(self, outputs: Any, labels: Any, ignore_keys: Sequence[str] | None = None) -> Result:
        """Find loss and predictions in what the model returned, and compute a loss that is not there."""
        loss, predictions = self.split(outputs, labels, ignore_keys)
        if self._compute_loss is not None and labels is not None:
            loss = self._compute_loss(predictions, labels)
        elif loss is None and labels is not None:
            loss = _default_loss(predictions, labels)
        if isinstance(loss, torch.Tensor) and loss.ndim and loss.numel() == 1:
            loss = loss.reshape(())
        return Result(loss, predictions, labels)

    def split(self, outputs: Any, labels: Any, ignore_keys: Sequence[str] | None = None) -> tuple[Any, Any]:
        """Find loss and predictions in what the model returned.

        Predictions are the logits if there are some, and otherwise all but the loss and the keys that the model's
        configuration ignores. With `ignore_keys` they are all but these.
        """
        if isinstance(outputs, torch.Tensor):
            return (outputs, None) if outputs.ndim == 0 and self._model_has_loss else (None, outputs)
        if isinstance(outputs, SEQUENCE) and not hasattr(outputs, "loss"):
            if not self._model_has_loss:
                return None, outputs
            if labels is not None:
                return self._loss_among(outputs)
            return None, _only([value for value in outputs if value is not None])
        named = _named(outputs)
        if named is None:
            return None, outputs
        loss, logits = named.get("loss"), named.get("logits")
        if logits is not None and ignore_keys is None:
            return loss, logits
        ignored = self._not_predicted if ignore_keys is None else {"loss", *ignore_keys}
        return loss, _only([value for key, value in named.items() if key not in ignored and value is not None])

    def _loss_among(self, outputs: Sequence[Any]) -> tuple[Any, Any]:
        """Find the loss in a tuple: the first single number, which may follow the logits; None if there is none.

        What comes first and is to be learned from is a loss as well, of the wrong shape.
        """
        tensors = [(n, value) for n, value in enumerate(outputs) if isinstance(value, torch.Tensor)]
        place = next((n for n, value in tensors if value.ndim < 2 and value.numel() == 1), None)
        if place is None and tensors and tensors[0][1].ndim == 1 and tensors[0][1].requires_grad:
            place = tensors[0][0]
        if place is None:
            return None, _only([value for value in outputs if value is not None])
        return outputs[place], _only([v for n, v in enumerate(outputs) if n != place and v is not None])


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside what compiles it, averages its gradients or adds adapters, and passes everything on."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner: Any = model.module if isinstance(model, parallel) else getattr(model, "_orig_mod", None)
        if inner is None and hasattr(model, "get_base_model"):  # of peft
            inner = model.get_base_model()
        if inner is None or inner is model:
            return model
        model = inner


def parameters_of(model: nn.Module) -> list[str]:
    """List what the `forward` of a model takes by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, p in inspect.signature(unwrapped(model).forward).parameters.items() if p.kind in named]


def labels_taken_by(model: nn.Module) -> list[str]:
    """List what the `forward` of a model takes that is a label by its name, as transformers does."""
    answers = ("start_positions", "end_positions") if "QuestionAnswering" in type(unwrapped(model)).__name__ else ()
    return [name for name in parameters_of(model) if "label" in name or name in (*LABELS, *answers)]


def accepts_loss_kwargs(model: nn.Module) -> bool:
    """Return whether a model divides its loss by `num_items_in_batch`, as transformers takes it from its signature."""
    said = getattr(unwrapped(model), "accepts_loss_kwargs", None)
    parameters = inspect.signature(unwrapped(model).forward).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters) if said is None else bool(said)


def _named(outputs: Any) -> Mapping[str, Any] | None:
    """Return outputs by name: of a mapping, a named tuple, a dataclass or another object with a `loss` or `logits`."""
    if isinstance(outputs, MAPPING):
        return outputs
    if hasattr(outputs, "_asdict"):
        return dict(outputs._asdict())
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return fields_of(outputs)
    has_any = hasattr(outputs, "loss") or hasattr(outputs, "logits")
    return dict(vars(outputs)) if has_any and hasattr(outputs, "__dict__") else None


def _only(values: list[Any]) -> Any:
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)


def smoothed_loss(share: float, shifted: bool) -> Callable[..., torch.Tensor]:
    """Return a loss in which a share of each label goes to all classes; a causal model shifts labels."""

    def loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        named = _named(outputs)
        logits: torch.Tensor = outputs[0] if named is None else named["logits"]
        if shifted:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        total = nn.functional.cross_entropy(
            logits.flatten(0, -2), labels.flatten(), label_smoothing=share, reduction="sum"
        )
        return total / ((labels != IGNORED_LABEL).sum() if num_items_in_batch is None else num_items_in_batch)

    return loss


def label_smoother(share: float) -> Callable[..., torch.Tensor] | None:
    """Return a smoothed loss as methods of a subclass call it; None where nothing is smoothed."""

    def smoothed(
        outputs: Any, labels: torch.Tensor, shift_labels: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        return smoothed_loss(share, shift_labels)(outputs, labels, num_items_in_batch)

    return smoothed if share else None


def can_return_loss(model: nn.Module) -> bool:
    """Return whether a model computes a loss without labels, as its `return_loss=True` says."""
    parameter = inspect.signature(unwrapped(model).forward).parameters.get("return_loss")
    return parameter is not None and parameter.default is True


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
