"""The Trainer: give it a model and data, call `train`."""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from runcast.callbacks.reporting import ReportCallback
from runcast.core.events import SWITCHES, TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.run.run import Run
from runcast.trainer.checkpoints.checkpoints import Checkpoints
from runcast.trainer.checkpoints.saving import Saving
from runcast.trainer.checkpoints.snapshot import load_training
from runcast.trainer.data.collate import collator_for
from runcast.trainer.data.epochs import Epochs
from runcast.trainer.data.loader import as_loader
from runcast.trainer.data.transfer import to_device
from runcast.trainer.defaults import with_defaults
from runcast.trainer.engine import Engine
from runcast.trainer.failures import OutOfMemoryError, explained, remedy_of_training
from runcast.trainer.loop import TrainingLoop
from runcast.trainer.methods.hooks import accepted
from runcast.trainer.methods.refused import check_parts, refuse_attribute, refuse_unheard, settled
from runcast.trainer.methods.scripts import ScriptMethods
from runcast.trainer.methods.search import Trial
from runcast.trainer.model.device import set_seed
from runcast.trainer.model.export import export_model
from runcast.trainer.optimization.own import check_own, check_sparse
from runcast.trainer.session import Sessions, keeping
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.termination import Leaving, TerminationCallback
from runcast.trainer.training import Training
from runcast.values.numbers import as_json

_log = logging.getLogger("runcast.trainer")


class TrainOutput(NamedTuple):
    """The result of `Trainer.train`."""

    global_step: int
    training_loss: float
    metrics: dict[str, float]


class Trainer(ScriptMethods):
    """The reference trainer: trains, evaluates and predicts on any device, and calls the callbacks at every event.

    Args:
        model: A model of transformers, or any module; `runcast.trainer.model.batch_reader` says what it may take and
            return.
        args: The settings; by default `TrainingArguments()`.
        data_collator: Makes a batch from a list of examples.
        train_dataset: Map-style or iterable dataset of dicts, dataclasses, tuples or tensors, or a ready DataLoader.
        eval_dataset: The same, or a dict of several by name.
        processing_class: The tokenizer or image processor; saved with the model and given to the callbacks. A tokenizer
            pads the batches, if there is no data_collator.
        model_init: Makes the model anew for each training, in place of *model*.
        compute_loss_func: Computes the loss of `(outputs, labels, num_items_in_batch=…)`.
        compute_metrics: Computes a dict of numbers from an `EvalPrediction` of NumPy arrays.
        callbacks: Callbacks, their classes, or (event, function) pairs, in the order in which they are to be called.
        optimizers: An optimizer and a schedule of one's own, in place of those that the arguments name.
        optimizer_cls_and_kwargs: The class of the optimizer and its settings.
        preprocess_logits_for_metrics: Makes of `(predictions, labels)` of a batch what is kept of the predictions.
        compute_loss: Computes the loss of `(predictions, labels)`, for a model that does not; any criterion of torch
            will do.

    A subclass may override `log`, `event` and the methods that `StepMethods` and `EvaluationMethods` have. One that
    overrides another method of transformers' Trainer is refused, as it would train something else than it says.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], Any] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        model_init: Callable[..., nn.Module] | None = None,
        compute_loss_func: Callable[..., torch.Tensor] | None = None,
        compute_metrics: Callable[..., dict[str, Any]] | None = None,
        callbacks: Iterable[Any] | None = None,
        optimizers: tuple[torch.optim.Optimizer | None, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
        preprocess_logits_for_metrics: Callable[[Any, Any], Any] | None = None,
        *,
        compute_loss: Callable[[Any, Any], torch.Tensor] | None = None,
    ) -> None:
        refuse_unheard(type(self), Trainer)
        self.args = settled(args)
        functions: dict[str, Any] = {"model_init": model_init, "compute_metrics": compute_metrics}
        functions |= {"compute_loss": compute_loss, "compute_loss_func": compute_loss_func}
        check_parts(self.args, model, data_collator, eval_dataset, callbacks, **functions)
        set_seed(self.args)
        self.model_init, self._plain_loss = model_init, compute_loss
        self.compute_loss_func = compute_loss_func
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_metrics, self.preprocess_logits_for_metrics = compute_metrics, preprocess_logits_for_metrics
        self.processing_class = processing_class
        self.data_collator = data_collator or collator_for(processing_class)
        self.callback_handler = CallbackHandler(processing_class=processing_class, eval_dataloader=None)
        self._adopt(self.call_model_init() if model is None else model)
        self.optimizer, self.lr_scheduler = check_own(optimizers, self.args)
        self.optimizer_cls_and_kwargs = optimizer_cls_and_kwargs
        check_sparse(self.model, self.optimizer, self.args)
        self.state, self.control, self.is_in_train = self._new_state(None), TrainerControl(), False
        self.checkpoints = Checkpoints(self.args, self.ranks)
        self._sessions = Sessions(self.event, self.control, self.ranks)
        self.callback_handler.context |= {
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler,
            "train_dataloader": None,
            "callback_handler": self.callback_handler,  # for one that calls on others
        }
        for callback in with_defaults(list(callbacks or ()), self.args):
            self.callback_handler.add_callback(callback)
        self._heard = self.callback_handler.events
        self._termination = next(
            (c for c in self.callback_handler.callbacks if isinstance(c, TerminationCallback)), None
        )
        if self.is_world_process_zero():  # scripts write there
            with contextlib.suppress(OSError):
                os.makedirs(self.args.output_dir, exist_ok=True)
        self.event("on_init_end")

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_attribute(name)
        engine = vars(self).get("engine") if name == "model" else None
        if engine is not None and isinstance(value, nn.Module) and value not in (engine.model, engine.wrapped):
            self._adopt(value)  # which sets it
        else:
            super().__setattr__(name, value)

    # Train, export

    def train(
        self,
        resume_from_checkpoint: str | os.PathLike[str] | bool | None = None,
        trial: Trial | None = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the arguments say.

        `resume_from_checkpoint` is a folder, or True for the last one in `output_dir`; `trial` is one of a search.
        """
        saving: list[Saving] = []
        with self._sessions.session(lambda number: saving[-1].save_last(number) if saving else None):
            while True:
                try:
                    return self._train(resume_from_checkpoint, trial, ignore_keys_for_eval, saving)
                except OutOfMemoryError as error:
                    size = self.args.per_device_train_batch_size
                    is_of_training = remedy_of_training(self.args) in str(error)
                    if not (self.args.auto_find_batch_size and size > 1 and is_of_training):
                        raise
                    self.args.per_device_train_batch_size = int(size * 0.9)
                    _log.warning("%s Trying again with %d examples in a batch.", error, int(size * 0.9))
                    self.model.zero_grad()

    def _train(self, resume: Any, trial: Trial | None, keys: list[str] | None, savings: list[Saving]) -> TrainOutput:
        args, context = self.args, self.callback_handler.context
        training = None
        with explained(lambda: "at step 1" if training is None else training.where(), remedy_of_training(args)):
            if self.model_init is not None:
                set_seed(args)
                self._adopt(self.call_model_init(trial and trial.trial))
                self.checkpoints = Checkpoints(args, self.ranks)
            self.hear_overrides()
            self.state = state = self._new_state(trial)
            checkpoint = self.checkpoints.find(resume or args.resume_from_checkpoint)
            data = Epochs(as_loader(self.get_train_dataloader()), args, self.device, self.ranks)
            training = Training(self.engine, args, state, data, self.make_optimizers, checkpoint)
            context["optimizer"], context["train_dataloader"] = self.optimizer, data.loader
            context["lr_scheduler"] = self.lr_scheduler
            best_saved = None if checkpoint is None else load_training(training, checkpoint, self.callback_handler)
            state.max_steps, state.num_train_epochs = training.max_steps, training.epochs
            state.compute_steps(args, training.max_steps)
            self.checkpoints.begin(state, best_saved)
            own_save = partial(self.save_model, **accepted(self.save_model, _internal_call=True))
            saving = Saving(
                training,
                self.checkpoints,
                self.callback_handler,
                self.processing_class,
                self.control,
                partial(self.event, "on_save"),
                own_save if self.is_overridden("save_model") else None,
            )
            savings.append(saving)
            if checkpoint is not None:
                self.event("on_checkpoint_load", checkpoint=checkpoint.folder)
            self.engine.wrapped.train()
            evaluate = partial(self.evaluate, **accepted(self.evaluate, ignore_keys=keys)) if keys else self.evaluate
            loop = TrainingLoop(
                training,
                self.control,
                event=self.event,
                log=partial(self.log, **accepted(self.log, start_time=time.time())),
                evaluate=evaluate if trial is None else trial.noting(evaluate, state),
                checkpoints=self.checkpoints,
                saving=saving,
                termination=self._termination,
            )
            self.is_in_train = True
            try:
                metrics = loop.run()
            except Leaving:
                saving.leave()
            finally:
                self.is_in_train = False
                saving.break_off()
        return TrainOutput(state.global_step, metrics["train_loss"], metrics)

    def export(self, path: str | os.PathLike[str], format: str = "safetensors", batch: Any = None) -> Path:
        """Write the model for other programs, as safetensors, torch (torch.export) or onnx.

        A batch of the Trainer's data shows what goes in.
        """
        with self._sessions.session():
            self.event("on_export_begin", path=Path(path), format=format)
            data = self.train_dataset if self.eval_dataset is None else self.eval_dataset
            if batch is None and data is not None:
                batch = self.engine.accepted(next(iter(as_loader(self.get_test_dataloader(data)))))
            batch = None if batch is None else to_device(batch, self.device)
            written = export_model(self.model, Path(path), format, batch, self.ranks)
            self.event("on_export_end", path=written, format=format)
        return written

    # Log and save

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Give values to every callback that logs or reports, at the current step.

        Values that a callback adds to them are in `state.log_history` too. `start_time` is when the training began.
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

    # Callbacks

    def event(self, name: str, **about: Any) -> None:
        """Call the callbacks that listen to an event."""
        if name in self._heard:
            control = self.callback_handler.call(name, self.args, about.pop("state", self.state), self.control, **about)
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

    def _adopt(self, model: nn.Module) -> None:
        """Take a model as the one to train."""
        self.engine = Engine(model, self.args, self._plain_loss)
        self.model, self.device, self.ranks = self.engine.model, self.engine.device, self.engine.ranks
        self.inspect_model()
        self.callback_handler.context["model"] = self.model

    def _new_state(self, trial: Trial | None) -> TrainerState:
        return TrainerState(
            train_batch_size=self.args.per_device_train_batch_size,
            is_world_process_zero=self.is_world_process_zero(),
            is_local_process_zero=self.is_local_process_zero(),
            **({} if trial is None else trial.about()),
        )
