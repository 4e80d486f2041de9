"""The evaluation loop: predictions and loss over a dataset, without a synchronisation until the end."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from runcast.callbacks.outputs import evaluation_mode
from runcast.core.errors import OptionError
from runcast.trainer.data.arrays import concatenate, join, to_host
from runcast.trainer.data.order import division
from runcast.trainer.data.transfer import Mover, prefetch
from runcast.trainer.model.items import count_items, example_count, weighted
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.termination import Leaving
from runcast.values.numbers import a, with_numbers

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer

_log = logging.getLogger("runcast.trainer")


class EvalPrediction(NamedTuple):
    """The argument of `compute_metrics`: NumPy arrays (or tuples of them) of all examples, in order."""

    predictions: Any
    label_ids: Any


class PredictionOutput(NamedTuple):
    """The result of `Trainer.predict`; `metrics` has no loss where there are no labels."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


def evaluation_loop(
    trainer: "Trainer", loader: DataLoader[Any], prefix: str, *, keep: bool, needs_labels: bool = False
) -> PredictionOutput:
    """Run the model over a loader, with the events.

    Keep the predictions if asked or if metrics are to be computed of them.
    """
    args, device, model, started = trainer.args, trainer.device, trainer.model, time.perf_counter()
    trainer.callback_handler.context["eval_dataloader"] = loader
    loss_sum = torch.zeros((), device=device, dtype=torch.float32 if device.type == "mps" else torch.float64)
    predictions: list[Any] = []
    labels: list[Any] = []
    sizes: list[int] = []
    items: Any = 0
    trainer.is_evaluating = True
    with torch.no_grad(), evaluation_mode(model):
        for host, batch, counts in _batches(trainer, loader):
            with trainer.autocast:
                result = trainer.forward(trainer.evaluated_model, batch)
            if not counts:
                continue
            if result.loss is not None:
                weight = count_items(host, args.label_names, shifted=trainer.predicts_next_token)
                loss_sum += weighted(result.loss, weight)
                items += weight
            if keep:
                predictions.append(result.predictions)
                labels.append(result.labels)
            sizes.append(example_count(host))
            if keep and (every := args.eval_accumulation_steps) and len(sizes) % every == 0:
                predictions[-every:], labels[-every:] = to_host(predictions[-every:]), to_host(labels[-every:])
            trainer.event("on_prediction_step")
    trainer.is_evaluating = False  # not so after an exception, which wants to know where it came from
    shared = division(loader, trainer.ranks)
    ranks = trainer.ranks if shared else Ranks()
    sums = torch.stack([loss_sum, *(torch.as_tensor(n).to(loss_sum) for n in (items, sum(sizes), len(sizes)))])
    total_loss, items, total_examples, total_steps = ranks.total(sums).tolist()
    metrics = {f"{prefix}_loss": total_loss / items} if items else {}
    if not total_steps:
        _log.warning("Nothing was evaluated: the dataset is empty, or a generator, which can be read only once.")
    in_turn = shared == "turns"
    gathered, targets = (
        join(ranks.gather(concatenate(part, sizes[: len(part)])), in_turn=in_turn) for part in (predictions, labels)
    )
    if trainer.compute_metrics is not None and gathered is not None and not (needs_labels and targets is None):
        computed = trainer.compute_metrics(EvalPrediction(gathered, targets))
        if not isinstance(computed, Mapping):
            raise OptionError(
                f"compute_metrics returned {a(type(computed))}. Return a dict of numbers by name: "
                '{"accuracy": accuracy}.'
            )
        metrics |= {
            key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": with_numbers(value)
            for key, value in ((str(key), value) for key, value in computed.items())
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

    The ranks go from batch to batch together, so that all of them notice when one is told to go. In a sharded model
    they also compute together: one that has no batch left repeats its last, which does not count.

    Raises:
        Leaving: SIGTERM came.
    """
    mover, ranks = Mover(trainer.device), trainer.ranks
    ahead = mover.overlaps and loader.num_workers > 0
    groups = prefetch(([batch] for batch in loader), mover.send, ahead=ahead)
    pairs = ((host, receive()) for ((host, receive),) in groups)
    last = None
    while True:
        pair = next(pairs, None)
        last = pair or last
        goes_on, has_none, leaves = ranks.any((pair is not None, last is None, trainer.is_asked_to_leave))
        if leaves:
            raise Leaving
        if not goes_on:
            return
        if trainer.args.fsdp and has_none:
            raise OptionError(f"There are fewer examples to evaluate than processes ({ranks.size}).")
        if pair is not None:
            yield (*pair, True)
        elif trainer.args.fsdp and last is not None:
            yield (*last, False)
