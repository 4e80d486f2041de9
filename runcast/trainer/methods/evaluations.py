"""The evaluations and predictions of a Trainer: what a subclass may override, as in transformers."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from runcast.core.events import TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.trainer.data.loader import as_loader
from runcast.trainer.evaluation import EvalLoopOutput, PredictionOutput, evaluation_loop
from runcast.trainer.failures import explained, remedy_of_evaluation
from runcast.trainer.methods.hooks import accepted
from runcast.trainer.methods.steps import StepMethods
from runcast.trainer.optimization.own import set_mode
from runcast.trainer.session import Sessions, keeping
from runcast.trainer.termination import TerminationCallback


class EvaluationMethods(StepMethods):
    """The methods of a Trainer that evaluate and predict."""

    callback_handler: CallbackHandler
    control: TrainerControl
    state: TrainerState
    event: Callable[..., None]
    log: Callable[..., None]
    compute_metrics: Callable[..., Any] | None
    preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None
    is_in_train: bool
    _sessions: Sessions
    _termination: TerminationCallback | None

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Compute loss and metrics on a dataset, log them, and return them.

        Args:
            eval_dataset: A dataset, several by name, or the name of one of the Trainer's own; by default these.
            ignore_keys: Outputs of the model that are no predictions.
            metric_key_prefix: What the names of the metrics begin with.
        """
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        keys = {} if ignore_keys is None else {"ignore_keys": ignore_keys}
        if isinstance(data, Mapping):
            results: dict[str, float] = {}
            for name, part in data.items():
                part = name if eval_dataset is None else part
                results |= self.evaluate(part, metric_key_prefix=f"{metric_key_prefix}_{name}", **keys)
            return results
        with self._sessions.session(), keeping(self.control, "should_evaluate"):
            loader = as_loader(self.get_eval_dataloader(eval_dataset))
            self.event("on_evaluate_begin")
            output = self._evaluated(
                loader, "Evaluation", None if self.compute_metrics else True, ignore_keys, metric_key_prefix
            )
            found = output.metrics
            self.log(found)
            metrics: dict[str, float] = self.ranks.of_first(found)  # with what callbacks added: all decide by these
            self.event("on_evaluate", metrics=metrics)
        return metrics

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """Predict every example of a dataset; with labels, compute loss and metrics too."""
        with self._sessions.session():
            loader = as_loader(self.get_test_dataloader(test_dataset))
            self.event("on_predict_begin")
            output = self._evaluated(loader, "Prediction", False, ignore_keys, metric_key_prefix)
            self.event("on_predict", metrics=output.metrics)
        return PredictionOutput(output.predictions, output.label_ids, output.metrics)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate the model on batches; the description is "Evaluation" or "Prediction"."""
        loss_only = self.args.prediction_loss_only if prediction_loss_only is None else prediction_loss_only
        self.callback_handler.context["eval_dataloader"] = dataloader
        where = f"in an evaluation or prediction at step {self.state.global_step}"
        with explained(lambda: where, remedy_of_evaluation(self.args)):
            return evaluation_loop(
                self.engine,
                dataloader,
                metric_key_prefix,
                event=self.event,
                termination=self._termination,
                compute_metrics=self.compute_metrics,
                keep=not loss_only,
                needs_labels=description == "Prediction",
                to_host_every=self.args.eval_accumulation_steps,
                preprocess=self.preprocess_logits_for_metrics,
                include=self.args.include_for_metrics or (),
                batch_by_batch=self.args.batch_eval_metrics,
                ignore_keys=ignore_keys,
            )

    def prediction_step(
        self, model: nn.Module, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Any, Any, Any]:
        """Compute loss, predictions and labels of a batch; each may be None."""
        inputs, reader = self._prepare_inputs(inputs), self.engine.reader
        labels = reader.labels_of(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            if labels is None:
                outputs, _ = reader.run(model, inputs)
                loss = reader.read(outputs, None).loss
            else:
                loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
                loss = loss.detach().mean()
        predictions = None if prediction_loss_only else reader.split(outputs, labels, ignore_keys)[1]
        return loss, predictions, labels

    def _evaluated(self, loader: DataLoader[Any], description: str, *how: Any) -> EvalLoopOutput:
        """Run the evaluation loop; time one that a subclass has overridden."""
        if not self.is_in_train:
            self.hear_overrides()
            if self.args.bf16_full_eval or self.args.fp16_full_eval:
                self.model.to(torch.bfloat16 if self.args.bf16_full_eval else torch.float16)
        set_mode(self.optimizer, "eval")  # the next step of a training puts it back
        began, prefix = time.perf_counter(), how[-1]
        output: EvalLoopOutput = self.evaluation_loop(loader, description, *how)
        if f"{prefix}_runtime" not in output.metrics:
            seconds = time.perf_counter() - began
            speed = {f"{prefix}_runtime": seconds, f"{prefix}_samples_per_second": output.num_samples / seconds}
            output.metrics.update(speed)
        return output

    def _predict(self, model: nn.Module, inputs: Any, loss_only: bool, keys: Any) -> tuple[Any, Any, Any]:
        return self.prediction_step(model, inputs, loss_only, **accepted(self.prediction_step, ignore_keys=keys))
