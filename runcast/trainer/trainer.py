"""The Trainer: give it a model and data, call `train`."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader

from runcast.callbacks.reporting import ReportCallback
from runcast.core.errors import OptionError
from runcast.core.events import SWITCHES, TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.journal.paths import absolute
from runcast.run.run import Run
from runcast.trainer.checkpoints.checkpoints import Checkpoints
from runcast.trainer.checkpoints.saving import Saving
from runcast.trainer.checkpoints.snapshot import load_training
from runcast.trainer.checkpoints.weights import save_whole
from runcast.trainer.data.epochs import Epochs
from runcast.trainer.data.loader import make_loader
from runcast.trainer.data.transfer import to_device
from runcast.trainer.defaults import with_defaults
from runcast.trainer.engine import Engine
from runcast.trainer.evaluation import EvalPrediction, PredictionOutput, evaluation_loop
from runcast.trainer.failures import explained, remedy_of_evaluation, remedy_of_training
from runcast.trainer.loop import TrainingLoop
from runcast.trainer.model.device import set_seed
from runcast.trainer.model.export import export_model
from runcast.trainer.optimization.own import check_own, check_sparse
from runcast.trainer.overrides import refuse_attribute, refuse_unheard
from runcast.trainer.session import Sessions, keeping
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.termination import Leaving, TerminationCallback
from runcast.trainer.training import Training
from runcast.values.numbers import as_json


class TrainOutput(NamedTuple):
    """The result of `Trainer.train`."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class Trainer:
    """The reference trainer: trains, evaluates and predicts on any device, and calls the callbacks at every event.

    Args:
        model: A model of transformers, or any module; `runcast.trainer.model.batch_reader` says what it may take and
            return.
        args: The settings; by default `TrainingArguments()`.
        train_dataset: Map-style or iterable dataset of dicts, dataclasses, tuples or tensors, or a ready DataLoader.
        eval_dataset: The same, or a dict of several by name.
        compute_loss: Computes the loss of `(predictions, labels)`, for a model that does not; any criterion of torch
            will do.
        compute_metrics: Computes a dict of numbers from an `EvalPrediction` of NumPy arrays.
        callbacks: Callbacks, their classes, or (event, function) pairs, in the order in which they are to be called.
        optimizers: An optimizer and a schedule of one's own, in place of those that the arguments name.
        data_collator: Makes a batch from a list of examples.
        processing_class: The tokenizer or image processor; saved with the model and given to the callbacks.

    Of a subclass the loop calls `evaluate`, `log` and `event`. One that overrides another method of transformers'
    Trainer, such as `compute_loss` or `training_step`, is refused, as it would train something else than it says.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        compute_loss: Callable[[Any, Any], torch.Tensor] | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, Any]] | None = None,
        callbacks: Iterable[Any] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, Any] = (None, None),
        data_collator: Callable[[list[Any]], Any] | None = None,
        processing_class: Any = None,
    ) -> None:
        refuse_unheard(type(self), Trainer)
        if not isinstance(model, nn.Module):
            raise OptionError(f"model is a {type(model).__name__}, not a torch.nn.Module.")
        self.args = args or TrainingArguments()
        self.args.output_dir = str(absolute(Path(self.args.output_dir).expanduser()))
        if self.args.eval_strategy != "no" and eval_dataset is None:
            raise OptionError(
                f"eval_strategy={self.args.eval_strategy!r}, but there is no eval dataset. Give the Trainer one: "
                "Trainer(..., eval_dataset=...), or set eval_strategy='no'."
            )
        set_seed(self.args)
        self.engine = Engine(model, self.args, compute_loss)
        self.model, self.device, self.ranks = model, self.engine.device, self.engine.ranks
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_metrics, self.data_collator = compute_metrics, data_collator
        self.processing_class = processing_class
        self.optimizer, self.lr_scheduler = check_own(optimizers, self.args)
        check_sparse(model, self.optimizer, self.args)
        self.state, self.control = self._new_state(), TrainerControl()
        self.checkpoints = Checkpoints(self.args, self.ranks)
        self._sessions = Sessions(self.event, self.control, self.ranks)
        self.callback_handler = CallbackHandler(
            with_defaults(list(callbacks or ()), self.args),
            model=model,
            processing_class=processing_class,
            optimizer=self.optimizer,
            lr_scheduler=self.lr_scheduler,
            train_dataloader=None,
            eval_dataloader=None,
        )
        self.callback_handler.context["callback_handler"] = self.callback_handler  # for one that calls on others
        self._heard = self.callback_handler.events
        self._termination = next(
            (c for c in self.callback_handler.callbacks if isinstance(c, TerminationCallback)), None
        )
        self.event("on_init_end")

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_attribute(name)
        super().__setattr__(name, value)

    # Train, evaluate, predict

    def train(self, resume_from_checkpoint: str | os.PathLike[str] | bool | None = None) -> TrainOutput:
        """Train as the arguments say.

        `resume_from_checkpoint` is a folder, or True for the last one in `output_dir`.
        """
        args, context = self.args, self.callback_handler.context
        training = saving = None
        with (
            self._sessions.session(lambda number: None if saving is None else saving.save_last(number)),
            explained(lambda: "at step 1" if training is None else training.where(), remedy_of_training(args)),
        ):
            self.state = state = self._new_state()
            checkpoint = self.checkpoints.find(resume_from_checkpoint or args.resume_from_checkpoint)
            data = Epochs(self.train_dataset, args, self.device, self.ranks, self.data_collator)
            training = Training(self.engine, args, state, data, (self.optimizer, self.lr_scheduler), checkpoint)
            context["optimizer"], context["train_dataloader"] = training.optimization.optimizer, data.loader
            context["lr_scheduler"] = training.optimization.scheduler
            best_saved = None
            if checkpoint is not None:
                best_saved = load_training(training, checkpoint, self.callback_handler)
            state.max_steps, state.num_train_epochs = training.max_steps, training.epochs
            state.compute_steps(args, training.max_steps)
            self.checkpoints.begin(state, best_saved)
            saving = Saving(
                training, self.checkpoints, self.callback_handler, self.processing_class, partial(self.event, "on_save")
            )
            if checkpoint is not None:
                self.event("on_checkpoint_load", checkpoint=checkpoint.folder)
            self.engine.wrapped.train()
            loop = TrainingLoop(
                training,
                self.control,
                event=self.event,
                log=self.log,
                evaluate=self.evaluate,
                checkpoints=self.checkpoints,
                save=saving.save,
                termination=self._termination,
            )
            try:
                metrics = loop.run()
            except Leaving:
                saving.leave()
        return TrainOutput(state.global_step, metrics["train_loss"], metrics)

    def evaluate(self, eval_dataset: Any = None, metric_key_prefix: str = "eval") -> dict[str, float]:
        """Compute loss and metrics on a dataset (by default the Trainer's own), log them, and return them."""
        data = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(data, dict):
            results: dict[str, float] = {}
            for name, part in data.items():
                results |= self.evaluate(part, metric_key_prefix=f"{metric_key_prefix}_{name}")
            return results
        with self._sessions.session(), keeping(self.control, "should_evaluate"):
            loader = self._eval_loader(data)
            self.event("on_evaluate_begin")
            keep = self.compute_metrics is not None and not self.args.prediction_loss_only
            found = self._outputs(loader, metric_key_prefix, keep=keep).metrics
            self.log(found)
            metrics: dict[str, float] = self.ranks.of_first(found)  # with what callbacks added: all decide by these
            self.event("on_evaluate", metrics=metrics)
        return metrics

    def predict(self, test_dataset: Any, metric_key_prefix: str = "test") -> PredictionOutput:
        """Predict every example of a dataset; with labels, compute loss and metrics too."""
        with self._sessions.session():
            loader = self._eval_loader(test_dataset)
            self.event("on_predict_begin")
            output = self._outputs(loader, metric_key_prefix, keep=True, needs_labels=True)
            self.event("on_predict", metrics=output.metrics)
        return output

    def export(self, path: str | os.PathLike[str], format: str = "safetensors", batch: Any = None) -> Path:
        """Write the model for other programs, as safetensors, torch (torch.export) or onnx.

        A batch of the Trainer's data shows what goes in.
        """
        with self._sessions.session():
            self.event("on_export_begin", path=Path(path), format=format)
            data = self.train_dataset if self.eval_dataset is None else self.eval_dataset
            if batch is None and data is not None:
                batch = self.engine.accepted(next(iter(self._eval_loader(data))))
            batch = None if batch is None else to_device(batch, self.device)
            written = export_model(self.model, Path(path), format, batch, self.ranks)
            self.event("on_export_end", path=written, format=format)
        return written

    # Log and save

    def log(self, logs: dict[str, Any]) -> None:
        """Give values to every callback that logs or reports, at the current step.

        Values that a callback adds to them are in `state.log_history` too.
        """
        logs["epoch"] = self.state.epoch
        if self.args.include_num_input_tokens_seen != "no":
            logs["num_input_tokens_seen"] = self.state.num_input_tokens_seen
        entry, before = as_json({**logs, "step": self.state.global_step}), dict(logs)
        self.state.log_history.append(entry)
        with keeping(self.control, "should_log"):
            self.event("on_log", logs=logs)
        added = {key: value for key, value in logs.items() if key not in before or before[key] is not value}
        entry.update(as_json(added))

    def save_model(self, output_dir: str | os.PathLike[str] | None = None) -> Path:
        """Write the weights as safetensors (and the configuration of a transformers model) and return the folder.

        The first process writes; with fsdp=True all must call it, as each has a part.
        """
        folder = Path(output_dir or self.args.output_dir)
        save_whole(self.model, folder, self.ranks.rank, self.processing_class)
        return folder

    # Callbacks

    def event(self, name: str, **about: Any) -> None:
        """Call the callbacks that listen to an event."""
        if name in self._heard:
            control = self.callback_handler.call(name, self.args, self.state, self.control, **about)
            if control is not self.control:  # a callback's own
                vars(self.control).update((switch, getattr(control, switch)) for switch in SWITCHES)

    def add_callback(self, callback: Any, function: Callable[..., Any] | None = None, **filters: Any) -> None:
        """Add a callback, its class, or a function on an event: `add_callback("on_epoch_end", function, every=5)`.

        The filters are every, once, before and after; see `runcast.LambdaCallback`.
        """
        self.callback_handler.add_callback(callback, function, **filters)

    def pop_callback(self, callback: Any) -> Any | None:
        """Take a callback out and return it; a class means the first of its instances."""
        return self.callback_handler.pop_callback(callback)

    def remove_callback(self, callback: Any) -> None:
        """Take a callback out: an instance, a class or a function."""
        self.callback_handler.remove_callback(callback)

    @property
    def run(self) -> Run | None:
        """The run that is reported to; None before the first event of a training, and where nothing is reported."""
        return next((one.run for one in self.callback_handler.callbacks if isinstance(one, ReportCallback)), None)

    # Parts

    def _outputs(
        self, loader: DataLoader[Any], prefix: str, *, keep: bool, needs_labels: bool = False
    ) -> PredictionOutput:
        """Run the evaluation loop as the arguments say."""
        self.callback_handler.context["eval_dataloader"] = loader
        where = f"in an evaluation or prediction at step {self.state.global_step}"
        with explained(lambda: where, remedy_of_evaluation(self.args)):
            return evaluation_loop(
                self.engine,
                loader,
                prefix,
                event=self.event,
                termination=self._termination,
                compute_metrics=self.compute_metrics,
                keep=keep,
                needs_labels=needs_labels,
                to_host_every=self.args.eval_accumulation_steps,
            )

    def _eval_loader(self, data: Any) -> DataLoader[Any]:
        return make_loader(
            data, self.args, train=False, device=self.device, collate=self.data_collator, ranks=self.ranks
        )

    def _new_state(self) -> TrainerState:
        return TrainerState(
            train_batch_size=self.args.per_device_train_batch_size,
            is_world_process_zero=self.ranks.rank == 0,
            is_local_process_zero=self.ranks.local_rank == 0,
        )
