"""Data, optimizer, steps and saving of a training: what a subclass may override, as in transformers."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from runcast.core.errors import OptionError
from runcast.trainer.checkpoints.weights import save_whole
from runcast.trainer.data.collate import UsedColumns, WithLabels, is_own
from runcast.trainer.data.loader import make_loader
from runcast.trainer.data.transfer import to_device
from runcast.trainer.engine import Engine
from runcast.trainer.failures import no_loss
from runcast.trainer.methods.accelerator import AcceleratorView
from runcast.trainer.methods.hooks import HookedEngine, accepted, weigh
from runcast.trainer.model.batch_reader import (
    accepts_loss_kwargs,
    can_return_loss,
    label_smoother,
    labels_taken_by,
    parameters_of,
    smoothed_loss,
)
from runcast.trainer.model.items import LABELS, count_items
from runcast.trainer.optimization.optimizers import belongs_to, make_optimizer
from runcast.trainer.optimization.own import check_own
from runcast.trainer.optimization.schedules import make_scheduler
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

_STEP = ("compute_loss", "training_step", "compute_loss_context_manager", "_prepare_inputs", "_prepare_input")
_PREDICTION = ("prediction_step", *(name for name in _STEP if name != "training_step"))


class StepMethods:
    """The methods of a Trainer that a training calls.

    A step of a training is one of the Engine's as long as none of its methods is overridden. Otherwise it is
    `training_step`, which calls `compute_loss` and `accelerator.backward`; and an evaluation calls `prediction_step`.

    `loss_is_scaled_for_ga` says whether `compute_loss` divides by `num_items_in_batch`, so that the loss is not
    weighted as a part of a step. By default it is taken to do so where it is given that number, as in transformers.
    """

    args: TrainingArguments
    engine: Engine
    model: nn.Module
    device: torch.device
    ranks: Ranks
    train_dataset: Any
    eval_dataset: Any
    data_collator: Any
    processing_class: Any
    optimizer: Any = None
    _made: tuple[Any, Any] = (None, None)  # for the last training
    optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None
    lr_scheduler: Any = None
    compute_loss_func: Callable[..., torch.Tensor] | None
    loss_is_scaled_for_ga: bool | None = None
    deepspeed = hp_name = hp_search_backend = None  # which methods of a subclass look at
    is_deepspeed_enabled = is_model_parallel = False
    label_smoother: Callable[..., torch.Tensor] | None
    can_return_loss: bool
    label_names: list[str]
    model_accepts_loss_kwargs: bool

    # Data

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Make the batches of a training; any iterable of batches will do."""
        return self._loader(self.train_dataset, train=True)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Make the batches of an evaluation: of a dataset, of one of several by its name, or of the Trainer's own."""
        if isinstance(eval_dataset, str):
            if not isinstance(self.eval_dataset, Mapping) or eval_dataset not in self.eval_dataset:
                names = list(self.eval_dataset) if isinstance(self.eval_dataset, Mapping) else "no named ones"
                raise OptionError(f"There is no evaluation dataset {eval_dataset!r}. The Trainer has: {names}.")
            eval_dataset = self.eval_dataset[eval_dataset]
        return self._loader(self.eval_dataset if eval_dataset is None else eval_dataset, train=False)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Make the batches of a prediction."""
        return self._loader(test_dataset, train=False)

    # Optimizer and schedule

    def create_optimizer_and_scheduler(self, num_training_steps: int) -> None:
        """Make both, for a training of so many steps."""
        self.optimizer = self.create_optimizer() or self.optimizer
        self.lr_scheduler = self.create_scheduler(num_training_steps, self.optimizer) or self.lr_scheduler

    def make_optimizers(self, max_steps: int) -> tuple[Any, Any]:
        """Make both by the methods below, anew for each training unless they were given; check and return them."""
        if self.optimizer is self._made[0]:
            self.optimizer = None
        if self.lr_scheduler is self._made[1]:
            self.lr_scheduler = None
        given = self.optimizer, self.lr_scheduler
        self.create_optimizer_and_scheduler(max_steps)
        found = check_own((self.optimizer, self.lr_scheduler), self.args)
        self._made = (None if found[0] is given[0] else found[0], None if found[1] is given[1] else found[1])
        return found

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        """Make the optimizer that the arguments name, unless there is one; keep and return it."""
        model = self.model if model is None else model
        self.optimizer = belongs_to(self.optimizer, model) or make_optimizer(
            model, self.args, self.optimizer_cls_and_kwargs
        )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Make the schedule that the arguments name, unless there is one; keep and return it."""
        if self.lr_scheduler is None:
            self.lr_scheduler = make_scheduler(optimizer or self.optimizer, self.args, num_training_steps)
        return self.lr_scheduler

    # A training step

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Compute the loss of a batch and add its gradients to those of the step; return the loss, detached."""
        inputs = self._prepare_inputs(inputs)
        options = accepted(self.compute_loss, num_items_in_batch=num_items_in_batch)
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs, **options)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise OptionError(no_loss(loss))
        is_scaled = self.loss_is_scaled_for_ga
        if is_scaled is None:
            is_scaled = num_items_in_batch is not None and bool(options) and self._scales
        if not is_scaled:
            loss = weigh(self.engine, loss)
        self.accelerator.backward(loss)
        return loss.detach()

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss of a batch, as the mean over `num_items_in_batch` of a whole step if that is given.

        With `return_outputs`, return what the model returned, too.
        """
        reader, every = self.engine.reader, self.ranks.size if self.args.average_tokens_across_devices else 1
        items = num_items_in_batch if self._scales else None
        if self.compute_loss_func is None:
            outputs, labels = reader.run(model, inputs)
            loss = reader.read(outputs, labels).loss
            if items is not None and loss is not None:
                shifted = self.engine.predicts_next_token
                loss = loss * (count_items(inputs, self.args.label_names, shifted=shifted) * every / items)
        else:
            labels = reader.labels_of(inputs)
            outputs, _ = reader.run(model, reader.accepted(inputs))
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=items)
            loss = loss if items is None else loss * every
        return (loss, outputs) if return_outputs else loss

    def compute_loss_context_manager(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which a loss is computed: autocast, as the arguments say."""
        return self.engine.autocast or contextlib.nullcontext()

    def _prepare_inputs(self, inputs: Any) -> Any:
        return self._prepare_input(inputs)

    def _prepare_input(self, data: Any) -> Any:
        return to_device(data, self.device)

    # Saving

    def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> Path:
        """Write the weights as safetensors (and the configuration of a transformers model) and return the folder.

        The first process writes; with fsdp=True all must call it, as each has a part. One that is overridden writes
        the weights of the checkpoints, too.
        """
        folder = Path(output_dir or self.args.output_dir)
        save_whole(self.model, folder, self.ranks.rank, self.processing_class)
        return folder

    # What the methods of a subclass look at

    def inspect_model(self) -> None:
        """Note what the model takes and computes."""
        model, share = self.model, self.args.label_smoothing_factor
        self.model_accepts_loss_kwargs, self.can_return_loss = accepts_loss_kwargs(model), can_return_loss(model)
        self.label_names = self.args.label_names or labels_taken_by(model) or ["labels"]
        self.label_smoother = label_smoother(share)
        if share and self.compute_loss_func is None:
            self.compute_loss_func = smoothed_loss(share, self.engine.predicts_next_token)

    @property
    def _train_batch_size(self) -> int:
        return self.args.per_device_train_batch_size

    @property
    def is_fsdp_enabled(self) -> bool:
        """Whether the model is sharded."""
        return self.engine.is_sharded

    @property
    def current_gradient_accumulation_steps(self) -> int:
        """How many batches the current step has: the last one of an epoch may have fewer."""
        return getattr(self.engine, "batches", None) or self.args.gradient_accumulation_steps

    @property
    def accelerator(self) -> AcceleratorView:
        """The Engine under the names of Accelerate."""
        return AcceleratorView(self.engine)

    @property
    def _scales(self) -> bool:
        """Return whether a loss is computed with the number of all items of a step."""
        return self.model_accepts_loss_kwargs or self.compute_loss_func is not None

    def is_overridden(self, *names: str) -> bool:
        """Return whether a subclass, or an attribute of this Trainer, takes the place of any of some methods."""
        ours = [vars(kind) for kind in type(self).__mro__ if kind.__module__.startswith(__package__)]
        own = {name: next(methods[name] for methods in ours if name in methods) for name in names}
        return any(getattr(getattr(self, name), "__func__", None) is not method for name, method in own.items())

    def hear_overrides(self) -> None:
        """Let the Engine compute by the methods that are overridden, or by itself."""
        plain = self.engine.plain if isinstance(self.engine, HookedEngine) else self.engine
        own_loss = self.compute_loss_func is not None
        step = self._step if own_loss or self.is_overridden(*_STEP) else None
        predict = self._predict if own_loss or self.is_overridden(*_PREDICTION) else None
        if step is None and predict is None:
            self.engine = plain
        elif self.engine is plain:
            self.engine = HookedEngine(plain, step, predict)

    def _predict(self, model: nn.Module, inputs: Any, loss_only: bool, keys: Any) -> tuple[Any, Any, Any]:
        raise NotImplementedError

    def _step(self, model: nn.Module, inputs: Any, items: Any) -> torch.Tensor:
        if not self._scales:
            items = None
        whole = self.engine.autocast if self.is_overridden("training_step") else None
        with whole or contextlib.nullcontext():
            loss: torch.Tensor = self.training_step(
                model, inputs, **accepted(self.training_step, num_items_in_batch=items)
            )
        return loss

    def _loader(self, data: Any, *, train: bool) -> DataLoader[Any]:
        collate, taken = self.data_collator, parameters_of(self.model)
        if is_own(collate) and not {"label", "label_ids"} & {*taken, *(self.args.label_names or ())}:
            collate = WithLabels(collate)
        if self.args.remove_unused_columns:
            collate = UsedColumns(collate, taken, LABELS, self.args.label_names)
            unused = collate.unused(getattr(data, "column_names", None) or ())
            if unused and hasattr(data, "remove_columns") and is_own(self.data_collator):
                data = data.remove_columns(unused)
        return make_loader(data, self.args, train=train, device=self.device, collate=collate, ranks=self.ranks)
