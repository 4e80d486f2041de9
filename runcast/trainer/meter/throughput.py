"""How fast a training is: samples, tokens and steps a second, memory, and how much of the device it uses (MFU)."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from runcast.trainer.meter.peaks import peak_of
from runcast.trainer.model.device import sum_type
from runcast.trainer.model.items import MAPPING, example_count, tokens_of
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

BACKWARD = 2  # the backward pass takes twice the multiplications of the forward pass


class Throughput:
    """What a training works through, counted; whatever costs a synchronization is read in `reduce` only.

    The floating-point operations of a step are estimated as 6·N·tokens for a model with token inputs (N parameters
    without embeddings, as transformers does), else those that the Engine has counted in the first step, where the peak
    of the device is known (`needs_flops`). Time that an evaluation or a checkpoint takes does not count.
    """

    def __init__(
        self, model: nn.Module, args: TrainingArguments, device: torch.device, ranks: Ranks, peak: float | None = None
    ) -> None:
        self._device, self._ranks = device, ranks
        self._peak = peak if peak is not None else peak_of(device, args, model)
        self._input = getattr(model, "main_input_name", "input_ids")
        self._counts_all = args.include_num_input_tokens_seen != "non_padding"
        self._per_token = 2 * (1 + BACKWARD) * _size_without_embeddings(model)
        self.needs_flops = self._peak is not None and not args.fsdp
        self._examples = self._all_tokens = 0
        self._tokens: int | torch.Tensor = 0
        self._logged = {"steps": 0, "examples": 0.0, "tokens": 0.0, "flops": 0.0}
        self._since = self._began = time.perf_counter()
        self._paused_s = 0.0
        self.totals = dict(self._logged)

    def count(self, batch: Any) -> None:
        """Count a batch, on the host as far as it is there."""
        self._examples += example_count(batch)
        if isinstance(batch, MAPPING) and self._input in batch:
            self._count_tokens(batch)

    def _count_tokens(self, batch: Mapping[str, Any]) -> None:
        tokens = tokens_of(batch, self._input)
        if tokens is None:
            return
        self._all_tokens += tokens.numel()
        mask = None if self._counts_all else batch.get("attention_mask")
        if mask is None:
            self._tokens += tokens.numel()
        else:
            self._tokens += mask.sum() if mask.device.type != "cpu" else int(mask.sum())

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude time that is not training: an evaluation, a checkpoint."""
        began = time.perf_counter()
        try:
            yield
        finally:
            pause = time.perf_counter() - began
            self._since += pause
            self._paused_s += pause

    def reduce(self, steps: int, flops_per_example: float | None = None) -> dict[str, float]:
        """Add up over all processes; return the totals of this session: steps, examples, tokens, flops."""
        counts = (self._examples, self._tokens, self._all_tokens)
        counted = [torch.as_tensor(count, dtype=sum_type(self._device)).to(self._device) for count in counts]
        examples, tokens, all_tokens = self._ranks.total(torch.stack(counted)).tolist()
        flops = self._per_token * all_tokens if all_tokens else (flops_per_example or 0.0) * examples
        self.totals = {"steps": steps, "examples": examples, "tokens": tokens, "flops": flops}
        return self.totals

    def rates(self) -> dict[str, float]:
        """Return the rates since the last call, and the memory in use."""
        now = time.perf_counter()
        logs = self._rates(self._logged, now - self._since, "")
        self._logged, self._since = self.totals, now
        if (memory := memory_gib(self._device)) is not None:
            logs["memory_gib"] = memory
        return logs

    def summary(self) -> dict[str, float]:
        """Return the rates of the whole session, under the names of transformers."""
        seconds = time.perf_counter() - self._began
        start = dict.fromkeys(self.totals, 0.0)
        return {"train_runtime": seconds, **self._rates(start, seconds - self._paused_s, "train_")}

    def _rates(self, before: Mapping[str, float], seconds: float, prefix: str) -> dict[str, float]:
        seconds = max(seconds, 1e-9)
        done = {key: value - before[key] for key, value in self.totals.items()}
        logs = {
            f"{prefix}samples_per_second": done["examples"] / seconds,
            f"{prefix}steps_per_second": done["steps"] / seconds,
        }
        if done["tokens"]:
            logs[f"{prefix}tokens_per_second"] = done["tokens"] / seconds
        if self._peak is not None and done["flops"]:
            logs[f"{prefix}mfu"] = done["flops"] / seconds / (self._peak * self._ranks.size)
        return logs


def memory_gib(device: torch.device) -> float | None:
    """Return the most memory that tensors have taken on the device, in GiB; None for the CPU."""
    if device.type in ("cuda", "xpu"):
        return float(getattr(torch, device.type).max_memory_allocated(device)) / 2**30
    return float(torch.mps.current_allocated_memory()) / 2**30 if device.type == "mps" else None


def _size_without_embeddings(model: nn.Module) -> int:
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return sum(p.numel() for p in model.parameters() if id(p) not in embeddings)
