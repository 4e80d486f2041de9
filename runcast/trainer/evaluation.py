"""The evaluation loop: predictions and loss over a dataset, without a synchronisation until the end."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from runcast.trainer.data import RankSlice
from runcast.trainer.device import to_device
from runcast.trainer.distribution import Ranks
from runcast.trainer.forward import IGNORED_LABEL, count_items, example_count

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer


class EvalPrediction(NamedTuple):
    """Is what `compute_metrics` is given: NumPy arrays (or tuples of them) of all examples, in order."""

    predictions: Any
    label_ids: Any


class PredictionOutput(NamedTuple):
    """Is what `predict` returns; `metrics` is empty of losses where there are no labels."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


def evaluation_loop(trainer: "Trainer", loader: DataLoader[Any], prefix: str, *, keep: bool) -> PredictionOutput:
    """Run the model over a loader, with the events.

    Keep the predictions if asked or if metrics are to be computed of them.
    """
    args, device, model, started = trainer.args, trainer.device, trainer.model, time.perf_counter()
    trainer.callback_handler.context["eval_dataloader"] = loader
    loss_sum = torch.zeros((), device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
    predictions: list[Any] = []
    labels: list[Any] = []
    items: float = 0
    examples: float = 0
    steps: float = 0
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in loader:
                weight = count_items(batch, args.label_names, shifted=trainer.predicts_next_token)
                with trainer.autocast:
                    result = trainer.forward(model, to_device(batch, device) if device.type != "cpu" else batch)
                if result.loss is not None:
                    loss_sum += result.loss * weight
                    items += weight
                if keep:
                    predictions.append(result.predictions)
                    labels.append(result.labels)
                examples += example_count(batch)
                steps += 1
                if (every := args.eval_accumulation_steps) and steps % every == 0:
                    predictions[-every:], labels[-every:] = _to_host(predictions[-every:]), _to_host(labels[-every:])
                trainer.event("on_prediction_step")
    finally:
        model.train(was_training)
    ranks = trainer.ranks if isinstance(loader.dataset, RankSlice) else Ranks()
    total_loss, items, examples, steps = ranks.total(
        torch.stack((loss_sum, *(loss_sum.new_tensor(n) for n in (items, examples, steps))))
    ).tolist()
    metrics = {f"{prefix}_loss": total_loss / items} if items else {}
    gathered, targets = (
        _concatenate(ranks.gather(_concatenate(predictions))),
        _concatenate(ranks.gather(_concatenate(labels))),
    )
    if trainer.compute_metrics is not None and keep:
        computed = trainer.compute_metrics(EvalPrediction(gathered, targets))
        metrics |= {
            key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": _plain(value) for key, value in computed.items()
        }
    seconds = time.perf_counter() - started
    metrics |= {
        f"{prefix}_runtime": seconds,
        f"{prefix}_samples_per_second": examples / seconds,
        f"{prefix}_steps_per_second": steps / seconds,
    }
    return PredictionOutput(gathered, targets, metrics)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value


def _to_host(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu")
    if isinstance(value, list | tuple):
        return type(value)(_to_host(part) for part in value)
    return {key: _to_host(part) for key, part in value.items()} if isinstance(value, Mapping) else value


def _concatenate(parts: list[Any]) -> Any:
    """Join the batches as NumPy arrays; examples of unequal length are padded with the ignored label."""
    if not parts or parts[0] is None:
        return None
    first = parts[0]
    if isinstance(first, list | tuple):
        return tuple(_concatenate(list(column)) for column in zip(*parts, strict=True))
    if isinstance(first, Mapping):
        return {key: _concatenate([part[key] for part in parts]) for key in first}
    arrays = [_array(part) for part in parts]
    if len({array.shape[1:] for array in arrays}) > 1:
        width = max(array.shape[1] for array in arrays)
        arrays = [
            np.pad(a, [(0, 0), (0, width - a.shape[1]), *[(0, 0)] * (a.ndim - 2)], constant_values=IGNORED_LABEL)
            for a in arrays
        ]
    return np.concatenate(arrays)


def _array(part: Any) -> Any:
    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    part = part.detach().cpu()
    return (part.float() if part.dtype == torch.bfloat16 else part).numpy()
