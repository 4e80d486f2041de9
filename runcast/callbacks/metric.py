"""A callback that computes a metric of a model's outputs, or of the texts that it generates."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runcast.callbacks.outputs import Outputs
from runcast.core.errors import OptionError
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState
from runcast.values.numbers import with_numbers


class MetricCallback(TrainerCallback):
    """A metric of the model's outputs over a dataset: `metric_fn` gets the outputs and the targets.

    The result joins the metrics of the evaluation: it may be metric_for_best_model, and reaches every tracker. Add it
    before the callbacks that should see it. In a job of several processes each computes a part of the dataset, and all
    of them the same metric. The model's mode and the random numbers of the training are as if it had not been.

    Args:
        metric_fn: Computes a number, or a dict of numbers, of `(predictions, labels)`: two lists with an entry for each
            example, of texts with `predict_with_generate`, else of tensors on the host.
        eval_dataset: Examples as dicts or as tuples of inputs and a label at the end; or ready batches of them (a
            DataLoader).
        output_cols: Which outputs of the model are predictions; by default its logits, or the first that is no loss.
            With several, each prediction is a tuple.
        label_cols: Which entries of an example are labels: tensors, numbers or texts. With several, each label is a
            tuple.
        batch_size: Examples given to the model at once.
        collate: Makes a batch of a list of examples; by default their entries are stacked, sequences of unequal length
            padded (on the side of the tokenizer's `padding_side`).
        at: "evaluate": with each evaluation. "epoch": at the end of each epoch, for trainings that do not evaluate.
        predict_with_generate: Call `model.generate`, and decode predictions and labels with the processing class. A
            decoder's text begins after its prompt.
        generate_kwargs: Arguments of `generate`.
        processing_class: The tokenizer; by default the trainer's.
        name: The metric's name, when `metric_fn` returns a number.

    Raises:
        OptionError: `at` is neither, or generating needs a tokenizer that is not there.
    """

    def __init__(
        self,
        metric_fn: Callable[[list[Any], list[Any]], Any],
        eval_dataset: Any,
        *,
        output_cols: Sequence[str] | None = None,
        label_cols: Sequence[str] | None = None,
        batch_size: int = 8,
        collate: Callable[[list[Any]], Any] | None = None,
        at: str = "evaluate",
        predict_with_generate: bool = False,
        generate_kwargs: Mapping[str, Any] | None = None,
        processing_class: Any = None,
        name: str | None = None,
    ) -> None:
        if at not in ("evaluate", "epoch"):
            raise OptionError(f"at={at!r} is unknown. Valid values are: evaluate, epoch.")
        if batch_size < 1:
            raise OptionError(f"batch_size={batch_size} must be a number of examples, 1 or more.")
        self._metric_fn, self._data, self._at = metric_fn, eval_dataset, at
        self._outputs = Outputs(
            output_cols=tuple(output_cols or ()),
            label_cols=("labels",) if label_cols is None else tuple(label_cols),
            batch_size=batch_size,
            collate=collate,
            generate_kwargs=dict(generate_kwargs or {}) if predict_with_generate else None,
            processing_class=processing_class,
        )
        self._name = name or str(getattr(metric_fn, "__name__", "metric")).strip("<>")
        self._pending: dict[str, Any] = {}
        self._computed_at = -1
        self._carrier = ""

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self._pending, self._computed_at = {}, -1

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> Control:
        """Compute the metric of an epoch at its last step, so that it is logged with that."""
        if self._at == "epoch" and math.isclose(state.epoch, round(state.epoch), abs_tol=1e-6):
            self._compute_epoch(state, control, model, kwargs.get("processing_class"))
        return control

    def on_epoch_end(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> Control:
        """Compute it for an epoch that ended before its last step."""
        if self._at == "epoch" and self._computed_at != state.global_step:
            self._compute_epoch(state, control, model, kwargs.get("processing_class"))
        return control

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any],
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Add the metric to what is logged of an evaluation (the first of several datasets), or of the epoch."""
        if self._at == "evaluate" and any(key.startswith("eval_") for key in logs):
            dataset = next((key for key in logs if key.endswith("_runtime")), "")
            if self._computed_at != state.global_step or self._carrier == dataset:
                self._pending = self._compute(model, kwargs.get("processing_class"))
                self._computed_at, self._carrier = state.global_step, dataset
        if self._pending:
            logs.update(self._pending)
            if state.log_history and state.log_history[-1].get("step") == state.global_step:
                state.log_history[-1].update(self._pending)  # under transformers nothing else does
            self._pending = {}

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Recompute for an evaluation after the training: the best weights may have been loaded."""
        self._computed_at = -1

    def _compute_epoch(self, state: TrainerState, control: TrainerControl, model: Any, processing_class: Any) -> None:
        self._pending, self._computed_at = self._compute(model, processing_class), state.global_step
        control.should_log = True

    def _compute(self, model: Any, processing_class: Any) -> dict[str, Any]:
        predictions, labels = self._outputs.collect(model, self._data, processing_class)
        result = self._metric_fn(predictions, labels)
        values: Mapping[str, Any] = result if isinstance(result, Mapping) else {self._name: result}
        return {
            key if "/" in key or key.startswith("eval_") else f"eval_{key}": with_numbers(value)
            for key, value in ((str(key), value) for key, value in values.items())
        }
