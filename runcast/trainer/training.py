"""One training: what its loop computes, and how far it is. A step that does not log never waits for the device."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.utils.data import IterableDataset

from runcast.core.errors import OptionError
from runcast.trainer.checkpoints.files import Checkpoint
from runcast.trainer.checkpoints.randomness import random_state, set_random_state
from runcast.trainer.checkpoints.resuming import plan_the_rest
from runcast.trainer.data.loader import evenly, in_groups, length_of, make_loader, steps_of
from runcast.trainer.data.order import SamplerStates, continue_epoch, generators_of, set_epoch, stateful_source
from runcast.trainer.data.samplers import EpochOrder
from runcast.trainer.data.transfer import Mover, prefetch
from runcast.trainer.failures import no_loss
from runcast.trainer.meter.losses import Losses
from runcast.trainer.meter.throughput import Throughput
from runcast.trainer.model.items import count_items, has_token_labels, weighted
from runcast.trainer.optimization.optimizers import belongs_to, make_optimizer
from runcast.trainer.optimization.own import check_length, rate_of, step_by_metric, steps_by_metric
from runcast.trainer.optimization.schedules import make_scheduler
from runcast.trainer.ranks.wrapping import accumulating

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer

Share: TypeAlias = Any  # None for a batch alone, else a float, or a 0-d tensor where the items of other ranks count
_log = logging.getLogger("runcast.trainer")


class Training:
    """The state of one call of `Trainer.train`.

    Data, optimizer, schedule, the position, and the sums between two logs.
    """

    def __init__(self, trainer: "Trainer", checkpoint: Checkpoint | None = None) -> None:
        args = trainer.args
        self.trainer, self.device, self.ranks = trainer, trainer.device, trainer.ranks
        data, collate = trainer.train_dataset, trainer.data_collator
        self.loader = make_loader(data, args, train=True, device=self.device, collate=collate, ranks=self.ranks)
        self._generators = generators_of(self.loader)
        self._samplers = SamplerStates(self.loader)
        lengths = self.ranks.gather(length_of(self.loader))
        self.batches_per_epoch = None if None in lengths else min(lengths)
        if len(set(lengths)) > 1 and self.batches_per_epoch is not None:
            _log.warning(
                "The ranks have DataLoaders of different lengths, %s: an epoch has %d batches.", lengths, min(lengths)
            )
        # The ranks find out at every step whether all have data, unless their samplers have said so.
        self._is_even = not any(self.ranks.gather(not isinstance(self.loader.sampler, EpochOrder)))
        size = self.loader.batch_size  # None where batches are made by other rules
        self.examples_per_batch = None if size is None else size * self.ranks.size
        self.max_steps, self.epochs = steps_of(self.batches_per_epoch, args)
        if checkpoint is not None:
            self.max_steps, self.epochs = plan_the_rest(self, checkpoint)
        self.model = trainer.wrapped_model
        self.optimizer = belongs_to(trainer.optimizer, trainer.model) or make_optimizer(trainer.model, args)
        self.scheduler = trainer.lr_scheduler or make_scheduler(self.optimizer, args, self.max_steps)
        check_length(self.scheduler, self.max_steps)
        self._scaler = torch.amp.GradScaler(self.device.type) if args.fp16 else None
        self._parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
        self.is_fresh, self.is_starved, self._was_cut = True, False, False
        self.first_epoch = self._epoch = self._batches_seen = 0
        self._examples_before = 0  # of the epoch, used before it was resumed with other batches
        self.saved_step = 0
        self.unsaved: set[str] = set()  # attributes of callbacks that no checkpoint can hold
        self._resumed: dict[str, Any] | None = None
        self._epoch_rng: dict[str, Any] = {}
        self.last_batch: Any = None
        self._losses = Losses(self.device, self.ranks, shifted=trainer.predicts_next_token)
        # One process on the CPU looks at the labels of a lone batch only if its loss asks for it: nobody waits.
        self._reads_losses = self.device.type == "cpu" and self.ranks.size == 1
        self._grad_norm: torch.Tensor | None = None
        self._learning_rate: Any = args.learning_rate
        self._was_stepped = True
        self._skipped = torch.zeros((), device=self.device)  # steps without a step of the optimizer: infinite gradients
        self._logged_step = self._first_step = 0
        self._earlier = (0, 0.0)  # tokens and floating-point operations before this session
        self._mover = Mover(self.device)
        self._in_plain_precision = not (args.bf16 or args.fp16)
        self._steps_by_metric = steps_by_metric(self.scheduler)
        self._weighs_tokens = args.average_tokens_across_devices and self.ranks.size > 1
        self.throughput = Throughput(trainer.model, args, self.device, self.ranks)
        self.metrics: dict[str, float] = {}

    # The steps

    def begin_epoch(self, epoch: int) -> None:
        """Go to an epoch, or back into the one that a checkpoint interrupted."""
        set_epoch(self.loader, self.trainer.args, epoch)
        self._epoch = epoch
        self._batches_seen = self._examples_before = 0
        if self._resumed is not None and not self._resumed["batches"]:
            self._samplers.restore(self._resumed["epoch_rng"], is_over=not self._resumed.get("examples"))
            self._set_random_state(self._resumed["rng"])
            self._resumed = None

    def steps_of_epoch(self) -> Iterator[list[Any]]:
        """Yield the batches of each optimizer step of what is left of the epoch, each with its way to the device.

        Where worker processes read the data, the copy of the next batch runs beside the computation. Otherwise
        nothing is read ahead, so that the random numbers are drawn in the order of the steps.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._epoch_rng = {**self.random_state(), "samplers": self._samplers.read()}
            batches = iter(self.loader)
        else:
            batches = self._go_back_into_epoch(resumed)
        groups = in_groups(batches, self.trainer.args.gradient_accumulation_steps)
        if self.ranks.size > 1 and not self._is_even:
            groups = evenly(groups, self.ranks)
        if self.device.type == "cpu":
            return ([(batch, None) for batch in group] for group in groups)
        ahead = self._mover.overlaps and self.loader.num_workers > 0 and stateful_source(self.loader) is None
        return prefetch(groups, self._mover.send, ahead=ahead)

    def _go_back_into_epoch(self, position: Mapping[str, Any]) -> Iterator[Any]:
        """Iterate over what is left of an epoch behind the position of a checkpoint."""
        examples, size = position.get("examples"), self.examples_per_batch
        if examples is not None and size is not None:
            self._batches_seen, rest = divmod(examples, size)
            self._examples_before = rest
        else:
            examples, self._batches_seen = None, position["batches"]
        data = position.get("data")
        if (
            examples is not None
            and examples != position["batches"] * (size or 0)
            and hasattr(self.loader, "state_dict")
        ):
            data = None  # a loader's own state is of batches as they were
        self._epoch_rng = self._samplers.restore(position["epoch_rng"]) or self.random_state()
        self._set_random_state(position["epoch_rng"])
        batches, draw_order = continue_epoch(self.loader, self._batches_seen, examples, self.ranks, data)
        draw_order()
        # Worker processes are asked for batches ahead: what draws their order is behind the position already.
        self._set_random_state(position["rng"], of_data=self.loader.num_workers == 0)
        return batches

    def random_state(self) -> dict[str, Any]:
        """Copy the state of every random number generator."""
        return random_state(self.device, self._generators)

    def _set_random_state(self, state: Mapping[str, Any] | None, *, of_data: bool = True) -> None:
        """Set random numbers back, unless they are those of another job."""
        if state is not None:
            set_random_state(state, self.device, self._generators if of_data else {})

    def end_epoch(self) -> None:
        """Leave the epoch: a checkpoint that is written from here on continues with the next one."""
        self.is_starved = self._batches_seen == 0
        self._was_cut = self._was_cut or self.trainer.control.should_epoch_stop
        self._epoch += 1
        self._batches_seen = self._examples_before = 0

    def shares(self, batches: list[Any]) -> Iterator[tuple[Any, Share]]:
        """Yield each batch on the device with its share of the step's loss: that of its items, as in one big batch."""
        args, ranks = self.trainer.args, self.ranks
        self.last_batch = batches[0][0]
        for host, _ in batches:
            self.throughput.count(host)
        if self._reads_losses and len(batches) == 1:
            yield self.last_batch, None
            return
        shifted = self.trainer.predicts_next_token
        items = [count_items(host, args.label_names, shifted=shifted) for host, _ in batches]
        total: Any = items[0] if len(items) == 1 else sum(items)
        times = 1
        if self._weighs_tokens and has_token_labels(self.last_batch, args.label_names):
            total, times = ranks.total(torch.as_tensor(total)), ranks.size  # on the hosts, if the labels are there
            total = total if total.device.type != "cpu" else int(total)
        is_alone = len(items) == 1 and times == 1
        self._losses.note_items(total)
        total = total.clamp(min=1) if isinstance(total, torch.Tensor) else max(total, 1)
        for (host, receive), count in zip(batches, items, strict=True):
            is_whole = is_alone and not isinstance(count, torch.Tensor) and count
            share = None if is_whole else count * times / total
            yield host if receive is None else receive(), share

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
            loss, _, labels = trainer.forward(model, batch)
        else:
            with trainer.autocast:
                loss, _, labels = trainer.forward(model, batch)
        if loss is None or loss.ndim or not loss.requires_grad:
            raise OptionError(no_loss(loss))
        if share is not None:
            loss = weighted(loss, share)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._losses.add(loss, labels if share is None else None)

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
        if self._was_stepped and not self._steps_by_metric:
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
        if self._steps_by_metric:
            step_by_metric(self.scheduler, self.trainer.args, metrics)

    # What is logged

    @property
    def has_news(self) -> bool:
        """Return whether there was a step since the last log."""
        return self.trainer.state.global_step > self._logged_step

    def news(self) -> dict[str, float]:
        """Read what the device has summed up since the last log: here, and only here, a training step waits for it."""
        step, norm = self.trainer.state.global_step, self._grad_norm
        if norm is not None:
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        loss, (grad_norm, skipped) = self._losses.read(step - self._logged_step, step, norm, self._skipped)
        logs = {} if loss is None else {"loss": loss}
        logs["learning_rate"] = float(self._learning_rate)
        if norm is not None:
            logs["grad_norm"] = grad_norm
        if self._scaler is not None:
            logs["skipped_steps"] = skipped
        self.settle()
        logs |= self.throughput.rates()
        self._skipped.zero_()
        self._logged_step = step
        return logs

    def settle(self) -> None:
        """Bring the counters of the state up to date, over all processes."""
        state = self.trainer.state
        totals = self.throughput.settle(state.global_step - self._first_step)
        state.num_input_tokens_seen = self._earlier[0] + int(totals["tokens"])
        state.total_flos = self._earlier[1] + totals["flops"]
        self._losses.settle()

    def finish(self) -> None:
        """Log what the training was as a whole, with the steps since the last log; load the best weights if asked.

        Raises:
            OptionError: The data had no batch at all.
        """
        trainer, step = self.trainer, self.trainer.state.global_step
        if step < self.max_steps and not (self._was_cut or trainer.control.should_training_stop):
            if step == 0:
                raise OptionError("The train dataset has no batch: it is empty, or a generator that was read already.")
            if self.ranks.rank == 0:
                _log.warning(
                    "The data ended at step %d of %d. A generator can be read only once, and a dataset may have fewer "
                    "examples than its length says: give an object whose __iter__ begins anew, or a list.",
                    step,
                    self.max_steps,
                )
        rest = self.news() if self.has_news and trainer.args.logging_strategy != "no" else {}
        self.settle()
        self.metrics = self.throughput.summary()
        if trainer.state.total_flos:
            self.metrics["total_flos"] = trainer.state.total_flos
        self.metrics["train_loss"] = self._losses.average(step)
        trainer.log({**rest, **self.metrics})
        if trainer.args.load_best_model_at_end:
            trainer.keeper.load_best()

    # What a checkpoint keeps

    def stateful(self) -> Mapping[str, Any]:
        """Name the parts with a state of their own."""
        parts = {"optimizer": self.optimizer, "scheduler": self.scheduler}
        return parts if self._scaler is None else parts | {"scaler": self._scaler}

    @property
    def examples_per_epoch(self) -> int:
        """Return how many examples all processes use in an epoch, those of a last batch that is not full too."""
        size = self.examples_per_batch or 1
        with contextlib.suppress(TypeError):
            sampler = self.loader.sampler
            own = len(self.loader.dataset if isinstance(self.loader.dataset, IterableDataset) else sampler)
            return min(own * self.ranks.size, (self.batches_per_epoch or sys.maxsize) * size)
        return (self.batches_per_epoch or 0) * size

    @property
    def examples_per_step(self) -> int | None:
        """Return how many examples all processes use in a step; None where batches are made by other rules."""
        size = self.examples_per_batch
        return None if size is None else size * self.trainer.args.gradient_accumulation_steps

    def progress(self) -> dict[str, Any]:
        """Return how far the training is, in numbers that mean the same to any number of processes with any batches."""
        size = self.examples_per_batch
        return {
            "epoch": self._epoch,
            "batches": self._batches_seen,
            "examples": None if size is None else self._examples_before + self._batches_seen * size,
            "examples_per_step": self.examples_per_step,
        }

    def position(self) -> dict[str, Any]:
        """Return how far this process is, in data and logs."""
        source = stateful_source(self.loader)
        return {
            **self.progress(),
            "data": None if source is None or not self._batches_seen else source.state_dict(),
            "epoch_rng": self._epoch_rng,
            **self._losses.state(),
            "logged_step": self._logged_step,
            "best_saved": self.trainer.keeper.best_saved,
        }

    def go_on_from(self, position: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was written."""
        self.is_fresh = False
        self._resumed = dict(position)
        if self.trainer.args.ignore_data_skip:
            self._resumed["batches"] = 0
        self.saved_step = self._first_step = self.trainer.state.global_step
        is_over = self._first_step >= self.max_steps
        self.first_epoch = self.epochs if is_over else position["epoch"]
        self._losses.load_state(position)
        self._logged_step = position["logged_step"]
        self._earlier = (self.trainer.state.num_input_tokens_seen, self.trainer.state.total_flos)
