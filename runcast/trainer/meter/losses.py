"""The losses of a training: summed up on the device between two logs, read there, and kept in a checkpoint."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch

from runcast.trainer.model.device import sum_type
from runcast.trainer.model.items import count_labels
from runcast.trainer.ranks.ranks import Ranks

PENDING = 64
_log = logging.getLogger("runcast.trainer")


class Losses:
    """What was lost, step by step. A step whose labels are all ignored has no loss, and does not count.

    The losses of some steps are kept as they are: adding them up at once would take a launch, and so much time that a
    step of 0.7 ms shows it. They are added one after the other, so that it does not matter when.
    """

    def __init__(self, device: torch.device, ranks: Ranks, *, shifted: bool, filters: bool = False) -> None:
        self._ranks, self._shifted, self._filters = ranks, shifted, filters
        self._added = 0  # since the last log
        self._pending: list[tuple[torch.Tensor, Any]] = []
        self._sum = torch.zeros((), device=device, dtype=sum_type(device))
        self._mean: torch.Tensor | None = None  # the sum, over the ranks: for a job of another size
        self._empty: Any = 0
        self._total = self._empty_total = 0.0  # up to the last log

    def add(self, loss: torch.Tensor, labels: Any = None) -> None:
        """Add the loss of a batch, with its share of the step; the labels, if it is not known that any count."""
        self._pending.append((loss.detach(), labels))
        if len(self._pending) == PENDING:
            self._add_up()

    def note_items(self, count: int | torch.Tensor) -> None:
        """Note how many labels, or examples, a step has: none means that it does not count."""
        if isinstance(count, torch.Tensor):
            self._empty = self._empty + count.eq(0)
        elif not count:
            self._empty += 1

    def read(self, steps: int, step: int, *others: torch.Tensor | None) -> tuple[float | None, list[float]]:
        """Return the mean loss of the last *steps*, None if none counts, and the means of *others* over the ranks.

        Waits for the device. A loss that has become infinite or NaN is reported once.
        """
        self._add_up()
        loss, empty, *rest = self._over_ranks(*others)
        if not math.isfinite(loss) and math.isfinite(self._total):
            _log.warning(
                "The loss is %s since step %d. Look at the data and the learning rate; TerminateOnNaNCallback would "
                "stop here.",
                loss,
                step,
            )
        self._total, self._empty_total = self._total + loss, self._empty_total + empty
        self._sum.zero_()
        self._added = 0
        self._empty = 0
        return loss / (steps - empty) if steps > empty else None, rest

    def average(self, steps: int) -> float:
        """Return the mean loss of the whole training."""
        self._add_up()
        loss, empty = self._over_ranks()
        return (self._total + loss) / max(steps - self._empty_total - empty, 1)

    def reduce(self) -> None:
        """Add up over all processes what a checkpoint keeps of them."""
        self._add_up()
        self._mean = self._ranks.total(self._sum.clone()) / self._ranks.size

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        self._add_up()
        return {
            "loss_sum": self._sum,
            "loss_mean": self._sum if self._mean is None else self._mean,
            "loss_total": self._total,
            "empty_steps": int(self._empty),
            "empty_total": self._empty_total,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._sum.copy_(state["loss_sum"])
        self._total = state["loss_total"]
        self._empty, self._empty_total = state.get("empty_steps", 0), state.get("empty_total", 0.0)

    def _add_up(self) -> None:
        pending, self._pending = self._pending, []
        if self._filters:  # one that is not finite counts as the mean of those before it
            for loss, _ in pending:
                self._added += 1
                self._sum += torch.where(loss.isfinite(), loss, self._sum / self._added)
            return
        if self._sum.device.type != "cpu":  # the device goes on; which labels count is known
            for loss, _ in pending:
                self._sum += loss
            return
        total = float(self._sum)
        for loss, labels in pending:
            value = float(loss)
            if (value and value == value) or labels is None or count_labels(labels, shifted=self._shifted) != 0:
                total += value
            else:
                self._empty += 1
        self._sum.fill_(total)

    def _over_ranks(self, *others: torch.Tensor | None) -> list[float]:
        zero = self._sum.new_zeros(())
        empty = torch.as_tensor(self._empty).to(zero)
        values = torch.stack([self._sum, empty, *(zero if other is None else other.to(zero) for other in others)])
        means: list[float] = (self._ranks.total(values) / self._ranks.size).tolist()
        return means
