"""The Trainer: give it a model and data, call `train`."""

import os
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from runcast.callbacks.reporting import ReportCallback
from runcast.core.errors import OptionError
from runcast.core.events import SWITCHES, TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.journal.paths import absolute
from runcast.run.run import Run
from runcast.trainer.checkpoints.checkpoints import Checkpoints
from runcast.trainer.checkpoints.saving import Saving
from runcast.trainer.checkpoints.snapshot import load_training
from runcast.trainer.data.epochs import Epochs
from runcast.trainer.data.loader import as_loader
from runcast.trainer.data.transfer import to_device
from runcast.trainer.defaults import with_defaults
from runcast.trainer.engine import Engine
from runcast.trainer.evaluation import EvalPrediction
from runcast.trainer.failures import explained, remedy_of_training
from runcast.trainer.loop import TrainingLoop
from runcast.trainer.methods.evaluations import EvaluationMethods
from runcast.trainer.methods.hooks import accepted
from runcast.trainer.methods.refused import refuse_attribute, refuse_unheard
from runcast.trainer.model.batch_reader import accepts_loss_kwargs
from runcast.trainer.model.device import set_seed
from runcast.trainer.model.export import export_model
from runcast.trainer.optimization.own import check_own, check_sparse
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


class Trainer(EvaluationMethods):
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

    A subclass may override `log`, `event` and the methods that `StepMethods` and `EvaluationMethods` have. One
    that overrides another method of transformers' Trainer is refused, as it would train something else than it says.
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
        self.model_accepts_loss_kwargs = accepts_loss_kwargs(model)
        self.compute_loss_func = None
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.compute_metrics, self.data_collator = compute_metrics, data_collator
        self.processing_class = processing_class
        self.optimizer, self.lr_scheduler = check_own(optimizers, self.args)
        self._made: tuple[Any, Any] = (None, None)  # for the last training
        check_sparse(model, self.optimizer, self.args)
        self.state, self.control, self.is_in_train = self._new_state(), TrainerControl(), False
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

    def train(
        self,
        resume_from_checkpoint: str | os.PathLike[str] | bool | None = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the arguments say.

        `resume_from_checkpoint` is a folder, or True for the last one in `output_dir`.
        """
        args, context = self.args, self.callback_handler.context
        training = saving = None
        with (
            self._sessions.session(lambda number: None if saving is None else saving.save_last(number)),
            explained(lambda: "at step 1" if training is None else training.where(), remedy_of_training(args)),
        ):
            self.hear_overrides()
            self.is_in_train = True
            self.state = state = self._new_state()
            checkpoint = self.checkpoints.find(resume_from_checkpoint or args.resume_from_checkpoint)
            data = Epochs(as_loader(self.get_train_dataloader()), args, self.device, self.ranks)
            training = Training(self.engine, args, state, data, self._make_optimizers, checkpoint)
            context["optimizer"], context["train_dataloader"] = self.optimizer, data.loader
            context["lr_scheduler"] = self.lr_scheduler
            best_saved = None
            if checkpoint is not None:
                best_saved = load_training(training, checkpoint, self.callback_handler)
            state.max_steps, state.num_train_epochs = training.max_steps, training.epochs
            state.compute_steps(args, training.max_steps)
            self.checkpoints.begin(state, best_saved)
            saving = Saving(
                training,
                self.checkpoints,
                self.callback_handler,
                self.processing_class,
                partial(self.event, "on_save"),
                partial(self.save_model, **accepted(self.save_model, _internal_call=True))
                if self.is_overridden("save_model")
                else None,
            )
            if checkpoint is not None:
                self.event("on_checkpoint_load", checkpoint=checkpoint.folder)
            self.engine.wrapped.train()
            keys: Any = {} if ignore_keys_for_eval is None else {"ignore_keys": ignore_keys_for_eval}
            loop = TrainingLoop(
                training,
                self.control,
                event=self.event,
                log=partial(self.log, **accepted(self.log, start_time=time.time())),
                evaluate=partial(self.evaluate, **keys),
                checkpoints=self.checkpoints,
                save=saving.save,
                termination=self._termination,
            )
            try:
                metrics = loop.run()
            except Leaving:
                saving.leave()
            finally:
                self.is_in_train = False
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

    def _make_optimizers(self, max_steps: int) -> tuple[Any, Any]:
        """Make optimizer and schedule for a training of so many steps, by the methods that a subclass may override."""
        if self.optimizer is self._made[0]:
            self.optimizer = None
        if self.lr_scheduler is self._made[1]:
            self.lr_scheduler = None
        given = self.optimizer, self.lr_scheduler
        self.create_optimizer_and_scheduler(max_steps)
        check_own((self.optimizer, self.lr_scheduler), self.args)
        self._made = (
            None if given[0] is self.optimizer else self.optimizer,
            None if given[1] is self.lr_scheduler else self.lr_scheduler,
        )
        return self.optimizer, self.lr_scheduler

    def _new_state(self) -> TrainerState:
        return TrainerState(
            train_batch_size=self.args.per_device_train_batch_size,
            is_world_process_zero=self.ranks.rank == 0,
            is_local_process_zero=self.ranks.local_rank == 0,
        )
