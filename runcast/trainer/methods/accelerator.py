"""The names of an Accelerator that methods of a subclass call on their Trainer."""

from typing import Any

import torch
from torch import nn

from runcast.trainer.engine import Engine


class AcceleratorView:
    """An Engine under the names of `accelerate.Accelerator`: `self.accelerator.backward(loss)` in a training step.

    Nothing here is wrapped later than by the Engine, so `prepare` and `unwrap_model` have little to do.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, ranks = engine, engine.ranks
        kind = "CPU" if engine.device.type == "cpu" else "GPU"
        self.device, self.sync_gradients = engine.device, True
        self.num_processes, self.process_index, self.local_process_index = ranks.size, ranks.rank, ranks.local_rank
        self.distributed_type = "NO" if ranks.size == 1 else "FSDP" if engine.is_sharded else f"MULTI_{kind}"
        self.is_main_process, self.is_local_main_process = ranks.rank == 0, ranks.local_rank == 0

    def backward(self, loss: torch.Tensor, **_: Any) -> None:
        """Add the gradients of a loss to those of the step."""
        Engine.backward(self._engine, loss)

    def prepare(self, *parts: Any, **_: Any) -> Any:
        """Return the parts as they are."""
        return parts[0] if len(parts) == 1 else parts

    def unwrap_model(self, model: nn.Module, **_: Any) -> nn.Module:
        """Return the model without what compiles it or averages its gradients."""
        return self._engine.model if model in (self._engine.wrapped, self._engine.evaluated) else model

    def gather(self, value: torch.Tensor) -> torch.Tensor:
        """Concatenate a tensor of every process."""
        parts = [part.to(value.device) for part in self._engine.ranks.gather(value.cpu())]
        return torch.cat([part.reshape(1) if part.ndim == 0 else part for part in parts])

    gather_for_metrics = gather

    def wait_for_everyone(self) -> None:
        """Wait until every process is here."""
        self._engine.ranks.gather(None)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"The Trainer has no Accelerator, and accelerator.{name} no counterpart here. Use trainer.engine (device, "
            "ranks, autocast, backward), or transformers.Trainer with callbacks=[runcast.ReportCallback()]."
        )
