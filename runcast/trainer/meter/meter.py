"""What a training logs of itself."""

from collections.abc import Mapping
from typing import Any

import torch

from runcast.trainer.engine import Engine
from runcast.trainer.meter.losses import Losses
from runcast.trainer.meter.throughput import Throughput
from runcast.trainer.settings.arguments import TrainingArguments


class Meter:
    """The losses and the throughput of a training, since it began and since the last log.

    `add` takes the loss of a batch, `count` the batch, `note_items` the items of a step; `paused` is the context of
    what is no training. None of them waits for the device.
    """

    def __init__(self, engine: Engine, args: TrainingArguments) -> None:
        self._engine = engine
        self._losses = Losses(
            engine.device, engine.ranks, shifted=engine.predicts_next_token, filters=args.logging_nan_inf_filter
        )
        self._throughput = Throughput(engine.model, args, engine.device, engine.ranks)
        self.add, self.note_items = self._losses.add, self._losses.note_items
        self.count, self.paused = self._throughput.count, self._throughput.paused
        self.needs_flops = self._throughput.needs_flops
        self._logged_step = self._first_step = 0
        self._earlier = (0, 0.0)  # tokens and floating-point operations before this session

    def has_new_steps(self, step: int) -> bool:
        """Return whether there was a step since the last log."""
        return step > self._logged_step

    def read_losses(self, step: int, *others: torch.Tensor | None) -> tuple[float | None, list[float]]:
        """Return the mean loss since the last log, None if none counts, and the means of *others* over the ranks.

        Waits for the device.
        """
        return self._losses.read(step - self._logged_step, step, *others)

    def rates(self, step: int) -> dict[str, float]:
        """Return the rates since the last log, which is now; call `reduce` before."""
        self._logged_step = step
        return self._throughput.rates()

    def reduce(self, step: int) -> tuple[int, float]:
        """Add up over all processes; return the tokens and the floating-point operations of the whole training."""
        totals = self._throughput.reduce(step - self._first_step, self._engine.flops_per_example)
        self._losses.reduce()
        return self._earlier[0] + int(totals["tokens"]), self._earlier[1] + totals["flops"]

    def summary(self) -> dict[str, float]:
        """Return the rates of the whole session; call `reduce` before."""
        return self._throughput.summary()

    def average_loss(self, step: int) -> float:
        """Return the mean loss of the whole training."""
        return self._losses.average(step)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {**self._losses.state(), "logged_step": self._logged_step}

    def load_state(self, state: Mapping[str, Any], step: int, earlier: tuple[int, float]) -> None:
        """Restore the state from a checkpoint, at a step, after so many tokens and floating-point operations."""
        self._losses.load_state(state)
        self._first_step, self._logged_step, self._earlier = step, state["logged_step"], earlier
