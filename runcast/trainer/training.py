"""One training: what its loop computes, and how far it is. A step that does not log never waits for the device."""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from runcast.core.errors import OptionError
from runcast.trainer.data import (
    continue_epoch,
    in_groups,
    length_of,
    make_loader,
    set_epoch,
    stateful_source,
    steps_of,
)
from runcast.trainer.device import Mover, sent_ahead
from runcast.trainer.distribution import accumulating
from runcast.trainer.explanations import no_loss
from runcast.trainer.forward import count_items, has_token_labels
from runcast.trainer.optimization import belongs_to, make_optimizer, make_scheduler
from runcast.trainer.own_optimizer import check_length, rate_of, step_by_metric, steps_by_metric
from runcast.trainer.snapshot import random_state, set_random_state
from runcast.trainer.throughput import Throughput

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
        self.optimizer = belongs_to(trainer.optimizer, trainer.model) or make_optimizer(trainer.model, args)
        self.scheduler = trainer.lr_scheduler or make_scheduler(self.optimizer, args, self.max_steps)
        check_length(self.scheduler, self.max_steps)
        self._scaler = torch.amp.GradScaler(self.device.type) if args.fp16 else None
        self._parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        self.is_fresh, self.is_starved = True, False
        self.first_epoch = self._epoch = self._batches_seen = 0
        self._resumed: dict[str, Any] | None = None
        self._epoch_rng: dict[str, Any] = {}
        self._loss_sum = torch.zeros((), device=self.device)
        self._grad_norm: torch.Tensor | None = None
        self._learning_rate: Any = args.learning_rate
        self._was_stepped = True
        self._skipped = torch.zeros((), device=self.device)  # steps without a step of the optimizer: infinite gradients
        self._loss_total = 0.0
        self._logged_step = self._first_step = 0
        self._earlier = (0, 0.0)  # tokens and floating-point operations before this session
        self._mover = Mover(self.device)
        self._in_plain_precision = not (args.bf16 or args.fp16)
        self._weighs_tokens = args.average_tokens_across_devices and self.ranks.size > 1
        self.throughput = Throughput(trainer.model, args, self.device, self.ranks)
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
        """Yield the batches of each optimizer step of the epoch, or of what is left of it, on host and device.

        Where worker processes read the data, the copy of the next step's batches runs beside this step. Otherwise
        nothing is read ahead, so that the random numbers are drawn in the order of the steps.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._epoch_rng = random_state(self.device)
            batches = iter(self.loader)
        else:
            self._epoch_rng = resumed["epoch_rng"]
            set_random_state(self._epoch_rng, self.device)
            batches, draw_order = continue_epoch(self.loader, self._batches_seen, resumed.get("data"))
            draw_order()
            set_random_state(resumed["rng"], self.device)
        groups = in_groups(batches, self.trainer.args.gradient_accumulation_steps)
        if self.device.type == "cpu":
            return ([(batch, batch) for batch in group] for group in groups)
        ahead = self._mover.overlaps and self.loader.num_workers > 0 and stateful_source(self.loader) is None
        return sent_ahead(groups, self._mover.send, int(ahead))

    def end_epoch(self) -> None:
        """Leave the epoch: a checkpoint that is written from here on continues with the next one."""
        self.is_starved = self._batches_seen == 0
        self._epoch += 1
        self._batches_seen = 0

    def shares(self, batches: list[Any]) -> list[tuple[Any, Share]]:
        """Give each batch its share of the step's loss: that of its items, as one big batch would weigh them."""
        trainer, ranks = self.trainer, self.ranks
        trainer.last_batch, on_device = batches[0]
        for batch, _ in batches:
            self.throughput.count(batch)
        if len(batches) == 1 and not (
            self._weighs_tokens and has_token_labels(trainer.last_batch, trainer.args.label_names)
        ):
            return [(on_device, None)]
        host = [pair[0] for pair in batches]
        items = [count_items(batch, trainer.args.label_names, shifted=trainer.predicts_next_token) for batch in host]
        total: Any = sum(items)
        shares: list[Share]
        if self._weighs_tokens:
            total = ranks.total(torch.as_tensor(total, dtype=torch.float32).to(self.device)).clamp(min=1.0)
            shares = [count * ranks.size / total for count in items]
        else:
            total = total.clamp(min=1) if isinstance(total, torch.Tensor) else max(total, 1)
            shares = [count / total for count in items]
        return [(pair[1], share) for pair, share in zip(batches, shares, strict=True)]

    def forward_backward(self, batch: Any, share: Share, *, more_to_come: bool) -> None:
        """Add the gradients of a batch to those of the step."""
        if self.throughput.must_measure:
            with self.throughput.measure(batch):  # what compiled code does cannot be counted: this one is not compiled
                self._compute(getattr(self.model, "_orig_mod", self.model), batch, share)
        elif more_to_come:
            with accumulating(self.model):
                self._compute(self.model, batch, share)
        else:
            self._compute(self.model, batch, share)

    def _compute(self, model: torch.nn.Module, batch: Any, share: Share) -> None:
        trainer = self.trainer
        if self._in_plain_precision:
            loss = trainer.forward(model, batch).loss
        else:
            with trainer.autocast:
                loss = trainer.forward(model, batch).loss
        if loss is None or loss.ndim or not loss.requires_grad:
            raise OptionError(no_loss(loss))
        if share is not None:
            loss = loss * share
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._loss_sum += loss.detach()

    def clip_gradients(self) -> None:
        """Take the scale out of the gradients, for the callbacks too, and clip them; their norm stays on the device."""
        limit = self.trainer.args.max_grad_norm
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        if limit > 0:
            self._grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, limit)

    def optimizer_step(self) -> None:
        """Change the weights; with a scaled loss only if all gradients are finite."""
        if self._scaler is None:
            self.optimizer.step()
            return
        self._was_stepped = False
        handle = self.optimizer.register_step_post_hook(self._note_step)
        try:
            self._scaler.step(self.optimizer)
        finally:
            handle.remove()
        self._scaler.update()
        if not self._was_stepped:
            self._skipped += 1

    def _note_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._was_stepped = True
        if (found := getattr(optimizer, "found_inf", None)) is not None:  # a fused one decides on the device
            self._skipped += found.to(self._skipped).reshape(())

    def advance(self, batches: int) -> None:
        """Go on to the next step: learning rate, gradients, counters."""
        state = self.trainer.state
        self._learning_rate = rate_of(self.optimizer.param_groups[0])
        if self._was_stepped and not steps_by_metric(self.scheduler):
            self.scheduler.step()
        self.optimizer.zero_grad()
        self._batches_seen += batches
        state.global_step += 1
        state.epoch = self._epoch + self._batches_seen / (
            self.batches_per_epoch or self.max_steps * self.trainer.args.gradient_accumulation_steps
        )

    def judge(self, metrics: Mapping[str, Any]) -> None:
        """Note whether an evaluation is the best, and give its metric to a schedule that goes by one."""
        self.trainer.keeper.judge(metrics)
        if steps_by_metric(self.scheduler):
            step_by_metric(self.scheduler, self.trainer.args, metrics)

    # What is logged

    @property
    def has_news(self) -> bool:
        """Tell whether there was a step since the last log."""
        return self.trainer.state.global_step > self._logged_step

    def news(self) -> dict[str, float]:
        """Read what the device has summed up since the last log: here, and only here, a training step waits for it."""
        step, norm = self.trainer.state.global_step, self._grad_norm
        if norm is not None:
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        norm_or_0 = self._loss_sum.new_zeros(()) if norm is None else norm.to(self._loss_sum)
        sums = torch.stack((self._loss_sum, norm_or_0, self._skipped))
        loss, grad_norm, skipped = (self.ranks.total(sums) / self.ranks.size).tolist()
        logs = {"loss": loss / (step - self._logged_step), "learning_rate": float(self._learning_rate)}
        if norm is not None:
            logs["grad_norm"] = grad_norm
        if self._scaler is not None:
            logs["skipped_steps"] = skipped
        self.settle()
        logs |= self.throughput.rates()
        if not math.isfinite(loss) and math.isfinite(self._loss_total):
            _log.warning(
                "The loss is %s since step %d. Look at the data and the learning rate; TerminateOnNaNCallback would "
                "stop here.",
                loss,
                step,
            )
        self._loss_total += loss
        self._loss_sum.zero_()
        self._skipped.zero_()
        self._logged_step = step
        return logs

    def settle(self) -> None:
        """Bring the counters of the state up to date, over all processes."""
        state = self.trainer.state
        totals = self.throughput.settle(state.global_step - self._first_step)
        state.num_input_tokens_seen = self._earlier[0] + int(totals["tokens"])
        state.total_flos = self._earlier[1] + totals["flops"]

    def finish(self) -> None:
        """Log what the training was as a whole, with the steps since the last log; load the best weights if asked."""
        trainer = self.trainer
        rest = self.news() if self.has_news and trainer.args.logging_strategy != "no" else {}
        self._loss_total += float(self.ranks.total(self._loss_sum)) / self.ranks.size
        self.settle()
        self.metrics = self.throughput.summary()
        if trainer.state.total_flos:
            self.metrics["total_flos"] = trainer.state.total_flos
        self.metrics["train_loss"] = self._loss_total / max(trainer.state.global_step, 1)
        trainer.log({**rest, **self.metrics})
        if trainer.args.load_best_model_at_end:
            trainer.keeper.load_best()

    # What a checkpoint keeps

    def stateful(self) -> Mapping[str, Any]:
        """Name the parts with a state of their own."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts if self._scaler is None else parts | {"scaler": self._scaler}

    def position(self) -> dict[str, Any]:
        """Say how far the training is, in data and logs."""
        source = stateful_source(self.loader)
        return {
            "data": None if source is None or not self._batches_seen else source.state_dict(),
            "epoch": self._epoch,
            "batches": self._batches_seen,
            "epoch_rng": self._epoch_rng,
            "loss_sum": self._loss_sum,
            "loss_total": self._loss_total,
            "logged_step": self._logged_step,
            "best_saved": self.trainer.keeper.best_saved,
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
        self._earlier = (self.trainer.state.num_input_tokens_seen, self.trainer.state.total_flos)
