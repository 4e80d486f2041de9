"""The batches of a training, epoch by epoch, and how far they are read."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset

from runcast.trainer.data.loader import evenly, in_groups, length_of, make_loader
from runcast.trainer.data.order import SamplerStates, continue_epoch, generators_of, set_epoch, stateful_source
from runcast.trainer.data.randomness import random_state, set_random_state
from runcast.trainer.data.samplers import EpochOrder
from runcast.trainer.data.transfer import Mover, prefetch
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

_log = logging.getLogger("runcast.trainer")


class Epochs:
    """The data of a training, in groups of one optimizer step, and the position in it that a checkpoint keeps."""

    def __init__(self, data: Any, args: TrainingArguments, device: torch.device, ranks: Ranks) -> None:
        self.loader = make_loader(data, args, train=True, device=device, ranks=ranks)
        self._args, self._device, self._ranks = args, device, ranks
        self._generators = generators_of(self.loader)
        self._samplers = SamplerStates(self.loader)
        lengths = ranks.gather(length_of(self.loader))
        self.batches_per_epoch = None if None in lengths else min(lengths)
        if len(set(lengths)) > 1 and self.batches_per_epoch is not None:
            _log.warning(
                "The ranks have DataLoaders of different lengths, %s: an epoch has %d batches.", lengths, min(lengths)
            )
        # The ranks find out at every step whether all have data, unless their samplers have said so.
        self._is_even = ranks.size == 1 or not any(ranks.gather(not isinstance(self.loader.sampler, EpochOrder)))
        size = self.loader.batch_size  # None where batches are made by other rules
        self._examples_per_batch = None if size is None else size * ranks.size
        self._batches_in_all = self.batches_per_epoch or args.max_steps * args.gradient_accumulation_steps
        self._mover = Mover(device)
        self._epoch = self._batches_seen = 0
        self._examples_before = 0  # of the epoch, used before it was resumed with other batches
        self._epoch_rng: dict[str, Any] = {}
        self._resumed: Mapping[str, Any] | None = None

    def begin(self, epoch: int) -> None:
        """Go to an epoch, or back into the one that a checkpoint interrupted."""
        set_epoch(self.loader, self._args, epoch)
        self._epoch = epoch
        self._batches_seen = self._examples_before = 0
        if self._resumed is not None and not self._resumed["batches"]:
            self._samplers.restore(self._resumed["epoch_rng"], is_over=not self._resumed.get("examples"))
            self._set_random_state(self._resumed["rng"])
            self._resumed = None

    def steps(self) -> Iterator[tuple[list[Any], Any]]:
        """Yield the batches of each remaining optimizer step of the epoch: a list on the host, and on the device.

        Where worker processes read the data, the copy of the next batch runs beside the computation. Otherwise
        nothing is read ahead, so that the random numbers are drawn in the order of the steps.
        """
        resumed, self._resumed = self._resumed, None
        if resumed is None:
            self._epoch_rng = {**self.random_state(), "samplers": self._samplers.read()}
            batches = iter(self.loader)
        else:
            batches = self._go_back_into_epoch(resumed)
        groups = in_groups(batches, self._args.gradient_accumulation_steps)
        if not self._is_even:
            groups = evenly(groups, self._ranks)
        if self._device.type == "cpu":
            return ((group, group) for group in groups)
        ahead = self._mover.overlaps and self.loader.num_workers > 0 and stateful_source(self.loader) is None
        pairs = prefetch(groups, self._mover.send, ahead=ahead)
        return (([host for host, _ in group], (receive() for _, receive in group)) for group in pairs)

    def advance(self, batches: int) -> float:
        """Count the batches of a step; return how many epochs are read, with the fraction of this one."""
        self._batches_seen += batches
        return self._epoch + self._batches_seen / self._batches_in_all

    def end(self) -> bool:
        """End the epoch: later checkpoints continue with the next one. Return whether it was empty."""
        is_empty = self._batches_seen == 0
        self._epoch += 1
        self._batches_seen = self._examples_before = 0
        return is_empty

    # What a checkpoint keeps

    def random_state(self) -> dict[str, Any]:
        """Copy the state of every random number generator."""
        return random_state(self._device, self._generators)

    @property
    def examples_per_epoch(self) -> int:
        """How many examples all processes use in an epoch, those of a last batch that is not full too."""
        size = self._examples_per_batch or 1
        with contextlib.suppress(TypeError):
            sampler = self.loader.sampler
            own = len(self.loader.dataset if isinstance(self.loader.dataset, IterableDataset) else sampler)
            return min(own * self._ranks.size, (self.batches_per_epoch or sys.maxsize) * size)
        return (self.batches_per_epoch or 0) * size

    @property
    def examples_per_step(self) -> int | None:
        """How many examples all processes use in a step; None where batches are made by other rules."""
        size = self._examples_per_batch
        return None if size is None else size * self._args.gradient_accumulation_steps

    def progress(self) -> dict[str, Any]:
        """Return how far the data is read, in numbers that mean the same to any number of processes and any batches."""
        size = self._examples_per_batch
        return {
            "epoch": self._epoch,
            "batches": self._batches_seen,
            "examples": None if size is None else self._examples_before + self._batches_seen * size,
            "examples_per_step": self.examples_per_step,
        }

    def position(self) -> dict[str, Any]:
        """Return how far this process is in the data."""
        source = stateful_source(self.loader)
        return {
            **self.progress(),
            "data": None if source is None or not self._batches_seen else source.state_dict(),
            "epoch_rng": self._epoch_rng,
            **({} if getattr(self.loader.sampler, "is_older", False) else {"order": 2}),
        }

    def resume(self, position: Mapping[str, Any]) -> None:
        """Go back to the position of a checkpoint when the next epoch begins."""
        if isinstance(self.loader.sampler, EpochOrder):
            self.loader.sampler.is_older = "order" not in position
        self._resumed = {**position, "batches": 0} if self._args.ignore_data_skip else position

    def _go_back_into_epoch(self, position: Mapping[str, Any]) -> Iterator[Any]:
        """Iterate over the rest of an epoch after the position of a checkpoint."""
        examples, size = position.get("examples"), self._examples_per_batch
        if examples is not None and size is not None:
            self._batches_seen, self._examples_before = divmod(examples, size)
        else:
            examples, self._batches_seen = None, position["batches"]
        data = position.get("data")
        as_before = examples is None or examples == position["batches"] * (size or 0)
        if not as_before and hasattr(self.loader, "state_dict"):
            data = None  # a loader's own state is of batches as they were
        self._epoch_rng = self._samplers.restore(position["epoch_rng"]) or self.random_state()
        self._set_random_state(position["epoch_rng"])
        batches, draw_order = continue_epoch(self.loader, self._batches_seen, examples, self._ranks, data)
        draw_order()
        # Worker processes prefetch batches, so the source of their order is already ahead of the position.
        self._set_random_state(position["rng"], of_data=self.loader.num_workers == 0)
        return batches

    def _set_random_state(self, state: Mapping[str, Any] | None, *, of_data: bool = True) -> None:
        """Set random numbers back, unless they are those of another job."""
        if state is not None:
            set_random_state(state, self._device, self._generators if of_data else {})
