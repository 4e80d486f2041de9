"""Keras 3: a metric of the model's own outputs, of predictions or of generated texts, at the end of each epoch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras


class MetricCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """A metric of the model's own outputs at the end of each epoch: of predictions or of generated texts.

    The result is added to the logs of the epoch as `val_<name>`, so that every later callback has it: the report,
    `EarlyStopping(monitor="val_<name>")`, the history.

    Args:
        metric_fn: Computes a number, or a dict of numbers, of `(predictions, labels)`: two lists, of one entry per
            example.
        eval_dataset: A pair of arrays or of dicts of arrays (inputs, labels), or what yields batches: pairs, or dicts
            whose `label_cols` are the labels.
        output_cols: Which outputs of a model with named outputs are predictions; by default all.
        label_cols: Which entries of a batch, or of its labels, are labels; by default "labels", else all.
        batch_size: Examples given to the model at once, when `eval_dataset` is a pair.
        predict_with_generate: Call `model.generate`, as the models of keras-hub have it.
        generate_kwargs: Arguments of `generate`.
        name: The metric's name, when `metric_fn` returns a number.
    """

    def __init__(
        self,
        metric_fn: Callable[[list[Any], list[Any]], Any],
        eval_dataset: Any,
        *,
        output_cols: Sequence[str] | None = None,
        label_cols: Sequence[str] | None = None,
        batch_size: int = 32,
        predict_with_generate: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self._metric_fn, self._data, self._batch_size = metric_fn, eval_dataset, batch_size
        self._outputs, self._labels = output_cols, label_cols
        self._generates, self._generate_kwargs = predict_with_generate, dict(generate_kwargs or {})
        self._name = name or str(getattr(metric_fn, "__name__", "metric"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compute the metric and add it to the logs."""
        predictions: list[Any] = []
        labels: list[Any] = []
        for inputs, wanted in self._batches():
            if self._generates:
                predictions += list(self.model.generate(inputs, **self._generate_kwargs))
            else:
                predictions += _rows(_pick(self.model.predict_on_batch(inputs), self._outputs))
            labels += _rows(_pick(wanted, self._labels))
        result = self._metric_fn(predictions, labels)
        values: Mapping[str, Any] = result if isinstance(result, Mapping) else {self._name: result}
        if logs is not None:
            logs.update({key if key.startswith("val_") else f"val_{key}": float(v) for key, v in values.items()})

    def _batches(self) -> Iterator[tuple[Any, Any]]:
        data = self._data
        if isinstance(data, tuple) and len(data) == 2:
            size = len(next(iter(data[0].values())) if isinstance(data[0], Mapping) else data[0])
            for start in range(0, size, self._batch_size):
                inputs, labels = (_slice(part, start, start + self._batch_size) for part in data)
                yield inputs, labels
            return
        indexed = isinstance(data, keras.utils.PyDataset)  # which need not end when it is iterated
        for batch in (data[index] for index in range(data.num_batches)) if indexed else data:
            if isinstance(batch, Mapping):
                names = self._labels or ("labels",)
                yield (
                    {key: value for key, value in batch.items() if key not in names},
                    {key: batch[key] for key in names},
                )
            else:
                yield batch[0], batch[1]


def _pick(values: Any, names: Sequence[str] | None) -> list[Any]:
    """List the columns of a batch: those that are named, or all."""
    if isinstance(values, Mapping):
        return [values[name] for name in names or values]
    return list(values) if isinstance(values, tuple | list) and not isinstance(values[0], str) else [values]


def _rows(columns: list[Any]) -> list[Any]:
    """List the entries of a batch, as NumPy arrays; of several columns, as tuples."""
    hosts = [list(keras.ops.convert_to_numpy(c)) if hasattr(c, "shape") else list(c) for c in columns]
    return hosts[0] if len(hosts) == 1 else list(zip(*hosts, strict=True))


def _slice(part: Any, start: int, stop: int) -> Any:
    return {key: value[start:stop] for key, value in part.items()} if isinstance(part, Mapping) else part[start:stop]
