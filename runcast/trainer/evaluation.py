"""The evaluation loop: predictions and loss over a dataset, without a synchronisation until the end."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from runcast.callbacks.outputs import evaluation_mode
from runcast.core.errors import OptionError
from runcast.core.values import with_numbers
from runcast.trainer.data import RankSlice, RankStream
from runcast.trainer.device import Mover, sent_ahead
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
    items: Any = 0
    examples = steps = 0
    trainer.is_evaluating = True
    with torch.no_grad(), evaluation_mode(model):
        for host, batch, counts in _batches(trainer, loader):
            with trainer.autocast:
                result = trainer.forward(model, batch)
            if not counts:
                continue
            if result.loss is not None:
                weight = count_items(host, args.label_names, shifted=trainer.predicts_next_token)
                loss_sum += result.loss * weight
                items += weight
            if keep:
                predictions.append(result.predictions)
                labels.append(result.labels)
            examples += example_count(host)
            steps += 1
            if (every := args.eval_accumulation_steps) and steps % every == 0:
                predictions[-every:], labels[-every:] = _to_host(predictions[-every:]), _to_host(labels[-every:])
            trainer.event("on_prediction_step")
    trainer.is_evaluating = False  # not so after an exception, which wants to know where it came from
    ranks = trainer.ranks if isinstance(loader.dataset, RankSlice | RankStream) else Ranks()
    sums = torch.stack([loss_sum, *(torch.as_tensor(n).to(loss_sum) for n in (items, examples, steps))])
    total_loss, items, total_examples, total_steps = ranks.total(sums).tolist()
    metrics = {f"{prefix}_loss": total_loss / items} if items else {}
    in_turn = isinstance(loader.dataset, RankStream)
    gathered, targets = (_join(ranks.gather(_concatenate(part)), in_turn=in_turn) for part in (predictions, labels))
    if trainer.compute_metrics is not None and keep:
        computed = trainer.compute_metrics(EvalPrediction(gathered, targets))
        metrics |= {
            key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": with_numbers(value)
            for key, value in computed.items()
        }
    seconds = time.perf_counter() - started
    metrics |= {
        f"{prefix}_runtime": seconds,
        f"{prefix}_samples_per_second": total_examples / seconds,
        f"{prefix}_steps_per_second": total_steps / seconds,
    }
    return PredictionOutput(gathered, targets, metrics)


def _batches(trainer: "Trainer", loader: DataLoader[Any]) -> Iterator[tuple[Any, Any, bool]]:
    """Yield each batch on the host and on the device, and whether it counts.

    The processes of a sharded model compute together. One that has no batch left repeats its last, which does not
    count, until the others have none either.
    """
    mover, ranks = Mover(trainer.device), trainer.ranks
    ahead = 1 if mover.overlaps and loader.num_workers else 0
    pairs = (pair for (pair,) in sent_ahead(([batch] for batch in loader), mover.send, ahead))
    if not trainer.args.fsdp or ranks.size == 1:
        yield from ((host, batch, True) for host, batch in pairs)
        return
    last = None
    while True:
        pair = next(pairs, None)
        going_on = int(ranks.total(torch.tensor(float(pair is not None), device=trainer.device)))
        if not going_on:
            return
        if last is None and going_on < ranks.size:
            raise OptionError(f"There are fewer examples to evaluate than processes ({ranks.size}).")
        last = pair or last
        assert last is not None
        yield (*last, pair is not None)


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


def _join(parts: list[Any], *, in_turn: bool) -> Any:
    """Join what the processes have: one behind the other, or, of a stream that they shared out, in turn."""
    if not in_turn or parts[0] is None:
        return _concatenate(parts)
    if isinstance(parts[0], tuple):
        return tuple(_join(list(column), in_turn=True) for column in zip(*parts, strict=True))
    if isinstance(parts[0], Mapping):
        return {key: _join([part[key] for part in parts], in_turn=True) for key in parts[0]}
    whole = _concatenate(parts)
    joined = np.empty_like(whole)
    for rank, part in enumerate(parts):
        joined[rank :: len(parts)] = whole[: len(part)]
        whole = whole[len(part) :]
    return joined


def _array(part: Any) -> Any:
    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    part = part.detach().cpu()
    return (part.float() if part.dtype == torch.bfloat16 else part).numpy()
