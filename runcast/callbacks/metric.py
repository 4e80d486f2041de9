"""A callback that computes a metric of a model's own outputs.

Of strings, of whatever a generation loop writes, of anything.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState

IGNORED_LABEL = -100


class MetricCallback(TrainerCallback):
    """Runs the model over a dataset and gives `metric_fn` what came out and what was wanted.

    The result joins the metrics of the evaluation.

    It may therefore be metric_for_best_model, and reaches every tracker. Add it before the callbacks that should see
    it.

    Args:
        metric_fn: Computes a number, or a dict of numbers, of `(predictions, labels)`: two lists, of texts with
            `predict_with_generate`, else of tensors.
        eval_dataset: Examples as dicts, or ready batches of them (a DataLoader).
        output_cols: Which outputs of the model are predictions; by default its logits, or the output itself.
        label_cols: Which entries of an example are labels.
        batch_size: Examples given to the model at once.
        collate: Makes a batch of a list of examples; by default the entries are stacked.
        at: "evaluate": with each evaluation. "epoch": at the end of each epoch, for trainings that do not evaluate.
        predict_with_generate: Call `model.generate`, and decode predictions and labels with the processing class.
        generate_kwargs: Arguments of `generate`.
        name: The metric's name, when `metric_fn` returns a number.
    """

    def __init__(
        self,
        metric_fn: Callable[[list[Any], list[Any]], Any],
        eval_dataset: Any,
        *,
        output_cols: Sequence[str] | None = None,
        label_cols: Sequence[str] = ("labels",),
        batch_size: int = 8,
        collate: Callable[[list[Any]], Any] | None = None,
        at: str = "evaluate",
        predict_with_generate: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if at not in ("evaluate", "epoch"):
            raise OptionError(f"at={at!r} is unknown. Valid values are: evaluate, epoch.")
        self._metric_fn, self._data, self._batch_size, self._collate = metric_fn, eval_dataset, batch_size, collate
        self._outputs, self._labels = tuple(output_cols or ()), tuple(label_cols)
        self._at, self._generates, self._generate_kwargs = at, predict_with_generate, dict(generate_kwargs or {})
        self._name = name or str(getattr(metric_fn, "__name__", "metric"))
        self._pending: dict[str, float] = {}

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Compute the metric of the epoch, to be logged with it."""
        if self._at == "epoch":
            self._pending = self._compute(kwargs.get("model"), kwargs.get("processing_class"))
            control.should_log = True
        return control

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Add the metric to what is logged of an evaluation, or of the epoch."""
        if self._at == "evaluate" and any(key.startswith("eval_") for key in logs):
            self._pending = self._compute(kwargs.get("model"), kwargs.get("processing_class"))
        logs.update(self._pending)
        self._pending = {}

    def _compute(self, model: Any, processing_class: Any) -> dict[str, float]:
        torch = sys.modules["torch"]  # a training without torch never comes here
        device = next(model.parameters()).device
        was_training = model.training
        model.eval()
        predictions: list[Any] = []
        labels: list[Any] = []
        with torch.no_grad():
            for batch in self._batches():
                wanted = [batch[name] for name in self._labels if name in batch]
                inputs = {
                    key: value.to(device)
                    for key, value in batch.items()
                    if key not in self._labels and hasattr(value, "to")
                }
                if self._generates:
                    predictions += processing_class.batch_decode(
                        model.generate(**inputs, **self._generate_kwargs), skip_special_tokens=True
                    )
                    labels += processing_class.batch_decode(
                        _without_ignored(wanted[0], processing_class), skip_special_tokens=True
                    )
                else:
                    predictions += _rows(self._select(model(**inputs)))
                    labels += _rows(wanted)
        model.train(was_training)
        result = self._metric_fn(predictions, labels)
        values: Mapping[str, Any] = result if isinstance(result, Mapping) else {self._name: result}
        return {
            key if "/" in key or key.startswith("eval_") else f"eval_{key}": float(value)
            for key, value in values.items()
        }

    def _batches(self) -> Any:
        first = next(iter(self._data))
        if any(hasattr(value, "dim") and value.dim() > 1 for value in first.values()) and hasattr(
            self._data, "batch_size"
        ):
            yield from self._data
            return
        examples = list(self._data)
        for start in range(0, len(examples), self._batch_size):
            part = examples[start : start + self._batch_size]
            yield self._collate(part) if self._collate else _stack(part)

    def _select(self, outputs: Any) -> list[Any]:
        if self._outputs:
            return [outputs[name] for name in self._outputs]
        if isinstance(outputs, Mapping):
            return (
                [outputs["logits"]]
                if "logits" in outputs
                else [next(value for key, value in outputs.items() if key != "loss")]
            )
        return [outputs[0] if isinstance(outputs, tuple) else outputs]


def _stack(examples: list[Any]) -> dict[str, Any]:
    torch = sys.modules["torch"]
    columns = {key: [example[key] for example in examples] for key in examples[0]}
    return {
        key: torch.stack([torch.as_tensor(value) for value in values])
        for key, values in columns.items()
        if not isinstance(values[0], str)
    }


def _rows(columns: list[Any]) -> list[Any]:
    hosts = [list(column.cpu()) if hasattr(column, "cpu") else list(column) for column in columns]
    return hosts[0] if len(hosts) == 1 else list(zip(*hosts, strict=True))


def _without_ignored(labels: Any, processing_class: Any) -> Any:
    pad = getattr(processing_class, "pad_token_id", None)
    return labels.masked_fill(labels == IGNORED_LABEL, 0 if pad is None else pad)
