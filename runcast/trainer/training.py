"""One training: what its loop computes, and how far it is. A step that does not log never waits for the device."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from runcast.core.errors import OptionError
from runcast.trainer.data import continue_epoch, in_groups, length_of, make_loader, set_epoch, steps_of
from runcast.trainer.device import to_device
from runcast.trainer.distribution import accumulating
from runcast.trainer.forward import count_items, example_count, has_token_labels
from runcast.trainer.optimization import make_optimizer, make_scheduler
from runcast.trainer.snapshot import random_state, set_random_state

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer

Share: TypeAlias = Any  # None for a batch alone, else a float, or a 0-d tensor where the items of other ranks count
_log = logging.getLogger("runcast.trainer")


class Training:
    """Holds what one call of `Trainer.train` needs.

    Data, optimizer, schedule, the position, and the sums between two logs.
    """

    def __init__(self, trainer: "Trainer") -> None:
        args = trainer.args
        self.trainer, self.device, self.ranks = trainer, trainer.device, trainer.ranks
        self.loader = make_loader(
            trainer.train_dataset,
            args,
            train=True,
            device=trainer.device,
            collate=trainer.data_collator,
            ranks=trainer.ranks,
        )
        self.batches_per_epoch = length_of(self.loader)
        self.max_steps, self.epochs = steps_of(self.batches_per_epoch, args)
        self.model = trainer.wrapped_model
        self.optimizer = trainer.optimizer or make_optimizer(trainer.model, args)
        self.scheduler = trainer.lr_scheduler or make_scheduler(self.optimizer, args, self.max_steps)
        self._scaler = torch.amp.GradScaler(self.device.type) if args.fp16 else None
        self._parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        self.is_fresh, self.is_starved = True, False
        self.first_epoch = self._epoch = self._batches_seen = 0
        self._resumed: dict[str, Any] | None = None
        self._epoch_rng: dict[str, Any] = {}
        self._loss_sum = torch.zeros((), device=self.device)
        self._grad_norm: torch.Tensor | None = None
        self._learning_rate = args.learning_rate
        self._loss_total = 0.0
        self._logged_step = self._first_step = 0
        self._examples = self._logged_examples = 0
        self._began = self._logged_at = time.perf_counter()
        self.metrics: dict[str, float] = {}

    # The steps

    def begin_epoch(self, epoch: int) -> None:
        """Go to an epoch, or back into the one that a checkpoint interrupted."""
        set_epoch(self.loader, self.trainer.args, epoch)
        self._epoch = epoch
        self._batches_seen = self._resumed["batches"] if self._resumed else 0
        if self._resumed is not None and not self._batches_seen:
            set_random_state(self._resumed["rng"], self.device)
            self._resumed = None

    def steps_of_epoch(self) -> Iterator[list[Any]]:
        """Yield the batches of each optimizer step of the epoch, or of what is left of it; reads nothing ahead."""
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._epoch_rng = random_state(self.device)
            batches = iter(self.loader)
        else:
            self._epoch_rng = resumed["epoch_rng"]
            set_random_state(self._epoch_rng, self.device)
            batches, draw_order = continue_epoch(self.loader, self._batches_seen)
            draw_order()
            set_random_state(resumed["rng"], self.device)
        return in_groups(batches, self.trainer.args.gradient_accumulation_steps)

    def end_epoch(self) -> None:
        """Leave the epoch: a checkpoint that is written from here on continues with the next one."""
        self.is_starved = self._batches_seen == 0
        self._epoch += 1
        self._batches_seen = 0

    def shares(self, batches: list[Any]) -> list[tuple[Any, Share]]:
        """Move the batches to the device, each with its share of the step's loss.

        That of its items among all, as one big batch would weigh it.
        """
        trainer, ranks = self.trainer, self.ranks
        self._examples += sum(map(example_count, batches))
        tokens = has_token_labels(batches[0], trainer.args.label_names)
        shares: list[Share] = [None]
        if len(batches) > 1 or (ranks.size > 1 and tokens):
            items = [
                count_items(batch, trainer.args.label_names, shifted=trainer.predicts_next_token) for batch in batches
            ]
            if ranks.size > 1 and trainer.args.average_tokens_across_devices:
                total = ranks.total(torch.tensor(float(sum(items)), device=self.device)).clamp(min=1.0)
                shares = [count * ranks.size / total for count in items]
            else:
                shares = [count / max(sum(items), 1) for count in items]
        if self.device.type != "cpu":
            batches = [to_device(batch, self.device) for batch in batches]
        return list(zip(batches, shares, strict=True))

    def forward_backward(self, batch: Any, share: Share, *, more_to_come: bool) -> None:
        """Add the gradients of a batch to those of the step."""
        trainer = self.trainer
        with accumulating(self.model, more_to_come):
            with trainer.autocast:
                loss = trainer.forward(self.model, batch).loss
            if loss is None or loss.ndim or not loss.requires_grad:
                raise OptionError(_no_loss(loss))
            if share is not None:
                loss = loss * share
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._loss_sum += loss.detach()

    def clip_gradients(self) -> None:
        """Clip the gradients; their norm stays on the device."""
        limit = self.trainer.args.max_grad_norm
        if limit > 0:
            if self._scaler is not None:
                self._scaler.unscale_(self.optimizer)
            self._grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit)

    def optimizer_step(self) -> None:
        """Change the weights."""
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()

    def advance(self, batches: int) -> None:
        """Go on to the next step: learning rate, gradients, counters."""
        state = self.trainer.state
        self._learning_rate = self.optimizer.param_groups[0]["lr"]
        self.scheduler.step()
        self.optimizer.zero_grad()
        self._batches_seen += batches
        state.global_step += 1
        state.epoch = self._epoch + self._batches_seen / (
            self.batches_per_epoch or self.max_steps * self.trainer.args.gradient_accumulation_steps
        )

    # What is logged

    @property
    def has_news(self) -> bool:
        """Tell whether there was a step since the last log."""
        return self.trainer.state.global_step > self._logged_step

    def news(self) -> dict[str, float]:
        """Read what the device has summed up since the last log: here, and only here, a training step waits for it."""
        step, now = self.trainer.state.global_step, time.perf_counter()
        sums = torch.stack(
            (
                self._loss_sum,
                self._loss_sum.new_zeros(()) if self._grad_norm is None else self._grad_norm.to(self._loss_sum),
            )
        )
        loss, grad_norm = (self.ranks.total(sums) / self.ranks.size).tolist()
        steps, seconds = step - self._logged_step, max(now - self._logged_at, 1e-9)
        logs = {"loss": loss / steps, "learning_rate": self._learning_rate}
        if self._grad_norm is not None:
            logs["grad_norm"] = grad_norm
        logs["steps_per_second"] = steps / seconds
        logs["samples_per_second"] = (self._examples - self._logged_examples) * self.ranks.size / seconds
        if self.device.type == "cuda":
            logs["memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        if not math.isfinite(loss) and math.isfinite(self._loss_total):
            _log.warning(
                "The loss is %s since step %d. Look at the data and the learning rate; TerminateOnNaNCallback would "
                "stop here.",
                loss,
                step,
            )
        self._loss_total += loss
        self._loss_sum.zero_()
        self._logged_step, self._logged_at, self._logged_examples = step, now, self._examples
        return logs

    def finish(self) -> None:
        """Log what the training was as a whole, and load the best weights if asked."""
        trainer = self.trainer
        self._loss_total += float(self.ranks.total(self._loss_sum)) / self.ranks.size
        steps, seconds = trainer.state.global_step - self._first_step, time.perf_counter() - self._began
        self.metrics = {
            "train_runtime": seconds,
            "train_samples_per_second": self._examples * self.ranks.size / seconds,
            "train_steps_per_second": steps / seconds,
            "train_loss": self._loss_total / max(trainer.state.global_step, 1),
        }
        trainer.log(dict(self.metrics))
        if trainer.args.load_best_model_at_end:
            trainer.keeper.load_best()

    # What a checkpoint keeps

    def stateful(self) -> Mapping[str, Any]:
        """Name the parts with a state of their own."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts if self._scaler is None else parts | {"scaler": self._scaler}

    def position(self) -> dict[str, Any]:
        """Say how far the training is, in data and logs."""
        return {
            "epoch": self._epoch,
            "batches": self._batches_seen,
            "epoch_rng": self._epoch_rng,
            "loss_sum": self._loss_sum,
            "loss_total": self._loss_total,
            "logged_step": self._logged_step,
        }

    def go_on_from(self, position: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was written."""
        self.is_fresh = False
        self._resumed = dict(position)
        if self.trainer.args.ignore_data_skip:
            self._resumed["batches"] = 0
        is_over = self.trainer.state.global_step >= self.max_steps
        self.first_epoch = self.epochs if is_over else position["epoch"]
        self._loss_sum.copy_(position["loss_sum"])
        self._loss_total, self._logged_step = position["loss_total"], position["logged_step"]
        self._first_step = self.trainer.state.global_step


def out_of_memory(trainer: "Trainer", error: BaseException) -> str:
    """Say where the memory ran out and what to try."""
    args = trainer.args
    advice = (
        "a smaller per_device_train_batch_size with more gradient_accumulation_steps, bf16=True, "
        "or gradient_checkpointing=True"
    )
    where = f"at step {trainer.state.global_step + 1}, with batches of {args.per_device_train_batch_size}"
    return f"Out of memory {where}. Try {advice}. {error}"


def _no_loss(loss: torch.Tensor | None) -> str:
    if loss is None:
        return (
            "The model returned no loss, and none could be computed. Give labels with each batch, "
            "or compute_loss=function(outputs, labels)."
        )
    if loss.ndim:
        return f"The loss has the shape {tuple(loss.shape)}, but must be one number. Reduce it: loss.mean()"
    return (
        "The loss does not require a gradient, so nothing would be learned. It was detached, "
        "computed under no_grad, or all parameters are frozen."
    )
