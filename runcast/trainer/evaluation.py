"""The evaluation loop: predictions and loss over a dataset, without a synchronisation until the end."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from runcast.callbacks.outputs import evaluation_mode
from runcast.core.errors import OptionError
from runcast.trainer.data.arrays import concatenate, join, to_host
from runcast.trainer.data.order import division
from runcast.trainer.data.transfer import Mover, prefetch
from runcast.trainer.engine import Engine
from runcast.trainer.model.device import sum_type
from runcast.trainer.model.items import count_items, example_count, weighted
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.termination import Leaving, TerminationCallback
from runcast.values.numbers import a, with_numbers

_log = logging.getLogger("runcast.trainer")


class EvalPrediction:
    """The argument of `compute_metrics`: NumPy arrays (or tuples of them) of all examples, in order.

    `inputs` and `losses` are there if `include_for_metrics` names them. It unpacks into what is there.
    """

    def __init__(self, predictions: Any, label_ids: Any, inputs: Any = None, losses: Any = None) -> None:
        self.predictions, self.label_ids, self.inputs, self.losses = predictions, label_ids, inputs, losses
        self._parts = (predictions, label_ids, *(part for part in (inputs, losses) if part is not None))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._parts)

    def __getitem__(self, place: int) -> Any:
        return self._parts[place]


class PredictionOutput(NamedTuple):
    """The result of `Trainer.predict`; `metrics` has no loss where there are no labels."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]


class EvalLoopOutput(NamedTuple):
    """The result of `Trainer.evaluation_loop`."""

    predictions: Any
    label_ids: Any
    metrics: dict[str, float]
    num_samples: int


def evaluation_loop(
    engine: Engine,
    loader: DataLoader[Any],
    prefix: str,
    *,
    event: Callable[[str], None],
    termination: TerminationCallback | None,
    compute_metrics: Callable[..., Any] | None = None,
    preprocess: Callable[[Any, Any], Any] | None = None,
    include: Sequence[str] = (),
    keep: bool = False,
    needs_labels: bool = False,
    batch_by_batch: bool = False,
    to_host_every: int | None = None,
    ignore_keys: Sequence[str] | None = None,
) -> EvalLoopOutput:
    """Run the model over a loader; return its metrics and, if they are to be kept, the predictions and labels.

    Args:
        engine: What computes.
        loader: The data.
        prefix: What the names of the metrics begin with.
        event: Is called with `on_prediction_step` after each batch.
        termination: Knows whether SIGTERM came to this process.
        compute_metrics: Computes further metrics of the predictions.
        preprocess: Makes of the predictions and labels of a batch what is kept of the predictions.
        include: What the metrics also need: "inputs", "loss", or both.
        keep: Whether predictions and labels are kept.
        needs_labels: Whether `compute_metrics` is only called where there are labels.
        batch_by_batch: Whether `compute_metrics` is called with each batch, and at the last one with
            `compute_result=True`.
        to_host_every: Move what is kept off the device each so many batches.
        ignore_keys: Outputs of the model that are no predictions.

    Raises:
        Leaving: SIGTERM came.
        OptionError: The metrics ask for what is not there.
    """
    if batch_by_batch and engine.ranks.size > 1:
        raise OptionError(
            "batch_eval_metrics=True works in a single process. Leave it out: the ranks gather at the end."
        )
    device, started = engine.device, time.perf_counter()
    loss_sum = torch.zeros((), device=device, dtype=sum_type(device))
    kept: tuple[list[Any], ...] = ([], [], [], [])  # predictions, labels, inputs, losses
    sizes: list[int] = []
    items: Any = 0
    pending: EvalPrediction | None = None
    with torch.no_grad(), evaluation_mode(engine.model):
        for host, batch, counts in _batches(engine, loader, termination):
            loss, predictions, labels = engine.predict(batch, ignore_keys, loss_only=not keep)
            if not counts:
                continue
            if loss is not None:
                weight = count_items(host, engine.label_names, shifted=engine.predicts_next_token)
                loss_sum += weighted(loss, weight)
                items += weight
            sizes.append(example_count(host))
            if keep:
                if preprocess is not None and predictions is not None:
                    predictions = preprocess(predictions, labels)
                inputs = _input_of(batch, engine.input_name) if "inputs" in include else None
                losses = loss.repeat(sizes[-1]) if "loss" in include and loss is not None else None
                if batch_by_batch and compute_metrics is not None:
                    if pending is not None:
                        compute_metrics(pending, compute_result=False)
                    pending = EvalPrediction(predictions, labels, inputs, losses)
                else:
                    for part, value in zip(kept, (predictions, labels, inputs, losses), strict=True):
                        part.append(value)
            if keep and to_host_every and len(sizes) % to_host_every == 0:
                for part in kept:
                    part[-to_host_every:] = to_host(part[-to_host_every:])
            event("on_prediction_step")
    shared = division(loader, engine.ranks)
    ranks = engine.ranks if shared else Ranks()
    sums = torch.stack([loss_sum, *(torch.as_tensor(n).to(loss_sum) for n in (items, sum(sizes), len(sizes)))])
    total_loss, items, examples, steps = ranks.total(sums).tolist()
    metrics = {f"{prefix}_loss": total_loss / items} if items else {}
    if not steps:
        _log.warning("Nothing was evaluated: the dataset is empty, or a generator, which can be read only once.")
    gathered, targets, *others = (
        join(ranks.gather(concatenate(part, sizes[: len(part)])), in_turn=shared == "turns") for part in kept
    )
    if pending is not None and compute_metrics is not None:
        metrics |= _named(compute_metrics(pending, compute_result=True), prefix)
    elif compute_metrics is not None and gathered is not None and not (needs_labels and targets is None):
        metrics |= _named(compute_metrics(EvalPrediction(gathered, targets, *others)), prefix)
    seconds = time.perf_counter() - started
    metrics |= {
        f"{prefix}_runtime": seconds,
        f"{prefix}_samples_per_second": examples / seconds,
        f"{prefix}_steps_per_second": steps / seconds,
    }
    return EvalLoopOutput(gathered, targets, metrics, int(examples))


def _input_of(batch: Any, name: str) -> Any:
    """Return the main input in a batch.

    Raises:
        OptionError: There is none.
    """
    if not isinstance(batch, Mapping) or name not in batch:
        raise OptionError(
            f"include_for_metrics has 'inputs', but the batches have no {name!r}. Set main_input_name of the model."
        )
    return batch[name]


def _named(computed: Any, prefix: str) -> dict[str, Any]:
    """Put the prefix before the names of what `compute_metrics` returned.

    Raises:
        OptionError: It is not a mapping.
    """
    if not isinstance(computed, Mapping):
        raise OptionError(
            f'compute_metrics returned {a(type(computed))}. Return a dict of numbers by name: {{"accuracy": accuracy}}.'
        )
    named = ((str(key), value) for key, value in computed.items())
    return {key if key.startswith(f"{prefix}_") else f"{prefix}_{key}": with_numbers(value) for key, value in named}


def _batches(
    engine: Engine, loader: DataLoader[Any], termination: TerminationCallback | None
) -> Iterator[tuple[Any, Any, bool]]:
    """Yield each batch on the host and on the device, and whether it counts.

    The ranks advance together from batch to batch, so that all of them notice a SIGTERM to one. In a sharded model
    they also compute together: one that has no batch left repeats its last, which does not count.

    Raises:
        Leaving: SIGTERM came.
    """
    mover, ranks = Mover(engine.device), engine.ranks
    ahead = mover.overlaps and loader.num_workers > 0
    groups = prefetch(([batch] for batch in loader), mover.send, ahead=ahead)
    pairs = ((host, receive()) for ((host, receive),) in groups)
    last = None
    while True:
        pair = next(pairs, None)
        last = pair or last
        is_asked = termination is not None and termination.is_asked
        goes_on, has_none, leaves = ranks.any((pair is not None, last is None, is_asked))
        if leaves:
            raise Leaving
        if not goes_on:
            return
        if engine.is_sharded and has_none:
            raise OptionError(f"There are fewer examples to evaluate than processes ({ranks.size}).")
        if pair is not None:
            yield (*pair, True)
        elif engine.is_sharded and last is not None:
            yield (*last, False)
