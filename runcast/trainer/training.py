"""One training: its parts, and how far it is. A step that does not log never waits for the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from runcast.core.events import TrainerState
from runcast.trainer.data.epochs import Epochs
from runcast.trainer.data.loader import steps_of
from runcast.trainer.data.resuming import plan_the_rest
from runcast.trainer.engine import Engine
from runcast.trainer.failures import shapes_of
from runcast.trainer.meter.meter import Meter
from runcast.trainer.model.items import count_items, has_token_labels
from runcast.trainer.optimization.steps import Optimization
from runcast.trainer.settings.arguments import TrainingArguments

Weight: TypeAlias = Any  # None for a batch alone, else a float, or a 0-d tensor where the items of other ranks count
_ALONE: Sequence[tuple[Weight, bool]] = ((None, True),)


class Training:
    """The parts of one training, and the position that a checkpoint keeps of them.

    `optimizers` makes optimizer and schedule for a number of steps. `checkpoint` is the folder and the manifest of the
    one that the training is resumed from.
    """

    def __init__(
        self,
        engine: Engine,
        args: TrainingArguments,
        state: TrainerState,
        data: Epochs,
        optimizers: Callable[[int], tuple[torch.optim.Optimizer, Any]],
        checkpoint: Any = None,
    ) -> None:
        self.engine, self.args, self.state, self.data = engine, args, state, data
        self.max_steps, self.epochs = steps_of(data.batches_per_epoch, args)
        if checkpoint is not None:
            planned = self.max_steps, self.epochs
            self.max_steps, self.epochs = plan_the_rest(data, args, engine.ranks, planned, checkpoint)
        self.meter = Meter(engine, args)
        engine.begin(measures=self.meter.needs_flops)
        self.optimization = Optimization(
            engine.model, args, self.max_steps, *optimizers(self.max_steps), device=engine.device, scaler=engine.scaler
        )
        self.first_epoch = self.saved_step = 0
        self.is_fresh = True
        self.unsaved: set[str] = set()  # attributes of callbacks that no checkpoint can hold
        self.loss_weights = engine.weighing(self._loss_weights)
        self._batch: Any = None
        # One process on the CPU inspects the labels of a lone batch only if its loss needs it: nothing waits.
        self._reads_losses = engine.device.type == "cpu" and engine.ranks.size == 1
        self._weighs_tokens = args.average_tokens_across_devices and engine.ranks.size > 1

    def _loss_weights(self, batches: list[Any]) -> Sequence[tuple[Weight, bool]]:
        """Count the batches of a step, which are on the host; return the weight of each, and whether it is the last.

        The weights are the shares of the step's items, as in one big batch. That of a batch alone is None.
        """
        self._batch = batches[0]
        for batch in batches:
            self.meter.count(batch)
        if self._reads_losses and len(batches) == 1:
            return _ALONE
        ranks, names = self.engine.ranks, self.engine.label_names
        items = [count_items(batch, names, shifted=self.engine.predicts_next_token) for batch in batches]
        total: Any = items[0] if len(items) == 1 else sum(items)
        times = 1
        if self._weighs_tokens and has_token_labels(self._batch, names):
            total, times = ranks.total(torch.as_tensor(total)), ranks.size  # on the hosts, if the labels are there
            total = total if total.device.type != "cpu" else int(total)
        self.meter.note_items(total)
        if len(items) == 1 and times == 1 and not isinstance(total, torch.Tensor) and total:
            return _ALONE
        total = total.clamp(min=1) if isinstance(total, torch.Tensor) else max(total, 1)
        last = len(items) - 1
        return [(count * times / total, number == last) for number, count in enumerate(items)]

    def advance(self, batches: int) -> None:
        """Count a step, of so many batches."""
        self.state.global_step += 1
        self.state.epoch = self.data.advance(batches)

    def metrics_since_log(self) -> dict[str, float]:
        """Read what the device has summed up since the last log: here, and only here, a training step waits for it."""
        done, step, norm = self.optimization, self.state.global_step, self.optimization.grad_norm
        if norm is not None:
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        loss, (grad_norm, skipped) = self.meter.read_losses(step, norm, done.skipped)
        logs = {} if loss is None else {"loss": loss}
        logs["learning_rate"] = float(done.learning_rate)
        if norm is not None:
            logs["grad_norm"] = grad_norm
        if done.scaler is not None:
            logs["skipped_steps"] = skipped
        done.skipped.zero_()
        self.reduce()
        return logs | self.meter.rates(step)

    def reduce(self) -> None:
        """Bring the counters of the state up to date, over all processes."""
        self.state.num_input_tokens_seen, self.state.total_flos = self.meter.reduce(self.state.global_step)

    def summary(self) -> dict[str, float]:
        """Return the summary of the training."""
        self.reduce()
        metrics = self.meter.summary()
        if self.state.total_flos:
            metrics["total_flos"] = self.state.total_flos
        return metrics | {"train_loss": self.meter.average_loss(self.state.global_step)}

    def where(self) -> str:
        """Return the place of a failure: the step that was not completed, and its first batch."""
        batch = "" if self._batch is None else f", with a batch of {shapes_of(self._batch)}"
        return f"at step {self.state.global_step + 1}{batch}"

    # What a checkpoint keeps

    def position(self) -> dict[str, Any]:
        """Return how far this process is, in data and logs."""
        return {"rng": self.data.random_state(), **self.data.position(), **self.meter.state()}

    def resume(self, position: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was written; the state is the one that it holds."""
        state, self.is_fresh = self.state, False
        self.data.resume(position)
        self.saved_step = state.global_step
        self.first_epoch = self.epochs if state.global_step >= self.max_steps else position["epoch"]
        self.meter.load_state(position, state.global_step, (state.num_input_tokens_seen, state.total_flos))
