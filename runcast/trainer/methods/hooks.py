"""Methods of a subclass that take the place of what the Engine computes."""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from runcast.core.errors import OptionError
from runcast.trainer.engine import Engine, Weighing
from runcast.trainer.model.batch_reader import Result
from runcast.trainer.model.items import MAPPING, count_labels, weighted


class HookedEngine(Engine):
    """An Engine whose steps or predictions are computed by functions; otherwise it is the one that it is made of.

    Args:
        plain: The Engine.
        step: Does the backward pass of a batch too, and returns its loss; None where the Engine does both.
        predict: Returns loss, predictions and labels of a batch; None where the Engine predicts. It is called with the
            model, the batch, whether only the loss is needed, and the keys to ignore.
    """

    def __init__(
        self,
        plain: Engine,
        step: Callable[[Any, Any, Any], torch.Tensor] | None,
        predict: Callable[[Any, Any, bool, Any], Sequence[Any]] | None,
    ) -> None:
        vars(self).update(vars(plain))
        self.plain, self._step, self._predict = plain, step, predict
        self.weight: Any = None  # the share that the batch has in its step
        self._weights: list[Any] = []
        self.batches = 0  # of the current step
        self._items: torch.Tensor | None = None

    def begin(self, *, measures: bool) -> None:
        """Begin a training; what a function computes is not measured."""
        super().begin(measures=measures and self._step is None)

    def weighing(self, loss_weights: Weighing) -> Weighing:
        """Keep the weights of a step's batches for its function: the loop then sees none."""
        if self._step is None:
            return loss_weights

        def weigh(batches: list[Any]) -> Sequence[Any]:
            weights = loss_weights(batches)
            self._weights, self.batches = [weight for weight, _ in weights], len(weights)
            self._items = self._count(batches)
            return [(None, is_last) for _, is_last in weights]

        return weigh

    def forward(self, batch: Any, *, syncs: bool = True) -> tuple[torch.Tensor, Any]:
        """Let the function compute the loss of a batch and its gradients."""
        if self._step is None:
            return super().forward(batch, syncs=syncs)
        if self._set_sync is not None:
            self._set_sync(syncs)
        self.weight = self._weights.pop(0)
        loss = self._step(self.wrapped, _own(batch), self._items)
        if not isinstance(loss, torch.Tensor) or loss.ndim:
            raise OptionError(f"training_step returned {loss!r}. Return the loss of the batch as a 0-d tensor.")
        return loss.detach(), None

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, unless the function has done so."""
        if self._step is None:
            super().backward(loss)

    def predict(self, batch: Any, ignore_keys: Sequence[str] | None = None, *, loss_only: bool = False) -> Result:
        """Let the function compute loss and predictions of a batch."""
        if self._predict is None:
            return super().predict(batch, ignore_keys)
        loss, predictions, labels = self._predict(self.evaluated, _own(batch), loss_only, ignore_keys)
        return Result(loss.mean() if getattr(loss, "ndim", 0) else loss, predictions, labels)

    def _count(self, batches: list[Any]) -> torch.Tensor | None:
        """Count the labels of a step over the processes, as `num_items_in_batch` of transformers does."""
        if not all(isinstance(batch, MAPPING) and "labels" in batch for batch in batches):
            return None
        counts = [count_labels(batch["labels"], shifted=self.predicts_next_token) for batch in batches]
        if None in counts:
            return None
        total = torch.as_tensor(sum(counts), device=self.device)  # type: ignore[arg-type]
        return self.ranks.total(total) if self._args.average_tokens_across_devices else total


def weigh(engine: Engine, loss: torch.Tensor) -> torch.Tensor:
    """Weigh the loss of a batch by its share of the step."""
    weight = getattr(engine, "weight", None)
    return loss if weight is None else weighted(loss, weight)


def accepted(method: Callable[..., Any], **options: Any) -> dict[str, Any]:
    """Leave out of some options those that a method of a subclass does not take: older ones had fewer."""
    return (
        options
        if not (missing := _lacks(getattr(method, "__func__", method), *options))
        else {name: value for name, value in options.items() if name not in missing}
    )


@functools.lru_cache(maxsize=64)
def _lacks(method: Callable[..., Any], *names: str) -> tuple[str, ...]:
    parameters = inspect.signature(method).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return () if takes_all else tuple(name for name in names if name not in parameters)


def _own(batch: Any) -> Any:
    """Copy what holds a batch, as methods take the labels out of it."""
    return copy.copy(batch) if isinstance(batch, MAPPING) else batch
