"""The Engine: a model and where it computes. It knows no Trainer, no data and no optimizer."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from runcast.callbacks.weights import uncompiled
from runcast.core.errors import OptionError
from runcast.trainer.failures import no_loss
from runcast.trainer.model.batch_reader import BatchReader, Result, unwrapped
from runcast.trainer.model.device import autocast, pick_device
from runcast.trainer.model.forward import add_embedding_noise, checkpoint_activations
from runcast.trainer.model.items import example_count, tokens_of
from runcast.trainer.ranks.job import join_job
from runcast.trainer.ranks.wrapping import for_evaluation, gradient_sync, wrap
from runcast.trainer.settings.arguments import TrainingArguments

Weighing: TypeAlias = Callable[[list[Any]], Sequence[tuple[Any, bool]]]


class Engine:
    """A model on its device, in its precision, among its ranks: forward and backward passes.

    `model` is the user's own, without a torch.compile around it, which renames the weights; `wrapped` is what training
    calls (sharded, under DDP, compiled). Where `must_measure` is set, the floating-point operations of the next batch
    are counted, and `flops_per_example` has them. `reader` calls the model, `autocast` is the context of a forward
    pass, or None, and `evaluated` what evaluations call.
    """

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments,
        compute_loss: Callable[[Any, Any], torch.Tensor] | None = None,
    ) -> None:
        if args.checkpoints_activations:
            checkpoint_activations(model, args)
        if args.neftune_noise_alpha:
            add_embedding_noise(model, args.neftune_noise_alpha)
        if hasattr(getattr(model, "config", None), "use_cache"):
            model.config.use_cache = args.use_cache
        self.model = model if args.fsdp else uncompiled(model)
        self.device = pick_device(args)
        self.ranks = join_job(args, self.device)
        self.wrapped = wrap(model, args, self.device, self.ranks)
        self.is_sharded = bool(args.fsdp)
        self.scaler: torch.amp.GradScaler | None = None
        self.label_names = args.label_names
        inner = unwrapped(model)
        self.predicts_next_token = type(inner).__name__.endswith(("ForCausalLM", "LMHeadModel"))
        self.input_name = getattr(inner, "main_input_name", "input_ids")
        self.must_measure = False
        self.flops_per_example: float | None = None
        self._args = args
        self._counting: tuple[contextlib.ExitStack, FlopCounterMode, int] | None = None
        self.evaluated = for_evaluation(model, self.wrapped, args)
        self.reader = BatchReader(model, args.label_names, compute_loss)
        self.autocast = autocast(args, self.device)
        self._set_sync = gradient_sync(self.wrapped)

    def begin(self, *, measures: bool) -> None:
        """Begin a training: the scale of its loss is its own; `measures` wants its first batch counted."""
        self.scaler = torch.amp.GradScaler(self.device.type) if self._args.fp16 else None
        self.must_measure = measures

    def weighing(self, loss_weights: Weighing) -> Weighing:
        """Return how the batches of a step are weighted."""
        return loss_weights

    def forward(self, batch: Any, *, syncs: bool = True) -> tuple[torch.Tensor, Any]:
        """Compute the loss of a batch; return it, and the labels.

        With `syncs=False` the gradients stay in this process, as another batch of the same step follows.

        Raises:
            OptionError: There is nothing to minimise.
        """
        if self._set_sync is not None:
            self._set_sync(syncs)
        if self.must_measure:
            loss, labels = self._measured(batch)
        elif self.autocast is None:
            loss, labels = self.reader.loss(self.wrapped, batch)
        else:
            with self.autocast:
                loss, labels = self.reader.loss(self.wrapped, batch)
        if not can_be_minimised(loss):
            raise OptionError(no_loss(loss))
        return loss, labels

    def keep_training(self) -> None:
        """Put the model back into training mode, if a callback that evaluated or generated has not."""
        if not self.model.training:
            self.wrapped.train()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to those of the step."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        if self._counting is None:
            loss.backward()
            return
        (counting, counter, examples), self._counting = self._counting, None
        with counting:
            loss.backward()
        self.flops_per_example = counter.get_total_flops() / max(examples, 1)

    def predict(self, batch: Any, ignore_keys: Sequence[str] | None = None, *, loss_only: bool = False) -> Result:
        """Compute loss and predictions of a batch; the caller has set evaluation mode and no_grad.

        The predictions leave out `ignore_keys`; with `loss_only`, they are not needed.
        """
        with self.autocast or contextlib.nullcontext():
            return self.reader(self.evaluated, batch, ignore_keys)

    def accepted(self, batch: Any) -> Any:
        """Leave out of a batch what the model's `forward` does not take by name, and the labels."""
        return self.reader.accepted(batch)

    def _measured(self, batch: Any) -> tuple[torch.Tensor | None, Any]:
        """Begin to count the operations of this batch; `backward` continues. Those of token inputs are estimated."""
        self.must_measure = False
        with contextlib.ExitStack() as stack:
            if tokens_of(batch, self.input_name) is None:
                counter = stack.enter_context(FlopCounterMode(display=False))
                self._counting = stack, counter, example_count(batch)
            with self.autocast or contextlib.nullcontext():  # what compiled code does cannot be counted
                loss, labels = self.reader.loss(uncompiled(self.wrapped), batch)
            if self._counting is not None and can_be_minimised(loss):
                self._counting = stack.pop_all(), *self._counting[1:]
        return loss, labels


def can_be_minimised(loss: torch.Tensor | None) -> bool:
    """Return whether a loss is one number with a gradient."""
    return isinstance(loss, torch.Tensor) and not loss.ndim and loss.requires_grad
