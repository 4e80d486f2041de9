"""Watches gradients and parameters: their norms and how they are spread, without making the training wait."""

import sys
from typing import Any, NamedTuple

from runcast.callbacks.host import open_runs
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.values.media.kinds import Histogram

KINDS = {"gradients": ("gradients",), "parameters": ("parameters",), "all": ("gradients", "parameters")}


class Measured(NamedTuple):
    """Measurements of one step: a row for each tensor, on its way from the device to the host."""

    step: int
    names: list[str]
    rows: Any
    is_ready: Any


class WatchCallback(TrainerCallback):
    """A callback that logs norm and histogram of each parameter and of its gradient, as the optimizer has just used it.

    The keys are gradients/<name> and parameters/<name> for the histograms, gradients_norm/<name> and
    parameters_norm/<name>, and gradients_norm and parameters_norm for all of them together. They go to the runs that
    the other callbacks report to; where there is none, the two norms of all go into the next log.

    Everything is computed on the device. The values come to the host in one copy, which nothing waits for, and are
    logged at its own step when it has arrived. Of a sharded model, norms are those of the whole tensors and histograms
    those of the first process's shards.

    Args:
        log: "gradients", "parameters" or "all".
        every_steps: Measure each so many steps.
        histograms: Whether to make histograms too.
        bins: Into how many equal parts the range of a histogram is cut.
        report: The `ReportCallback`, or the run, to log to. Our Trainer's callbacks find it by themselves; in that of
            transformers it has to be given.
    """

    reports = True

    def __init__(
        self,
        log: str = "gradients",
        every_steps: int = 100,
        *,
        histograms: bool = True,
        bins: int = 64,
        report: Any = None,
    ) -> None:
        if log not in KINDS:
            raise OptionError(f"log={log!r} is unknown. Valid values are: {', '.join(KINDS)}.")
        if every_steps < 1 or bins < 1:
            raise OptionError(f"every_steps={every_steps} and bins={bins} must be positive.")
        self._kinds, self._every_steps, self._bins, self._report = KINDS[log], every_steps, bins * histograms, report
        self._waiting: list[Measured] = []
        self._for_log: dict[str, float] = {}

    def on_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Measure, if this step is one to measure at."""
        if (state.global_step + 1) % self._every_steps == 0 and model is not None:
            self._waiting.append(self._measure(state.global_step + 1, model))

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, callback_handler: Any = None, **kwargs: Any
    ) -> None:
        """Log the values that have arrived."""
        while self._waiting and self._waiting[0].is_ready():
            self._log(state, self._waiting.pop(0), callback_handler)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Add the overall norms to the log, if there is no run to log to."""
        if self._for_log and "loss" in logs:
            logs.update(self._for_log)
            self._for_log = {}

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, callback_handler: Any = None, **kwargs: Any
    ) -> None:
        """Wait for the rest, and log it."""
        if self._waiting:
            self._waiting[-1].is_ready(waits=True)
        while self._waiting:
            self._log(state, self._waiting.pop(0), callback_handler)

    def _measure(self, step: int, model: Any) -> Measured:
        torch = sys.modules["torch"]
        names: list[str] = []
        rows: list[Any] = []
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                for kind, tensor in (("gradients", parameter.grad), ("parameters", parameter)):
                    if kind in self._kinds and tensor is not None and tensor.numel():
                        names.append(f"{kind}/{name.replace('_orig_mod.', '')}")
                        rows.append(_row(torch, tensor, self._bins))
            table = torch.stack([row.to(rows[0].device) for row in rows]) if rows else torch.zeros(0, 1)
            return Measured(step, names, *_to_host(torch, table))

    def _log(self, state: TrainerState, measured: Measured, callback_handler: Any) -> None:
        if not state.is_world_process_zero:
            return
        values: dict[str, Any] = {}
        squares = dict.fromkeys(self._kinds, 0.0)
        for name, (norm, *spread) in zip(measured.names, measured.rows.tolist(), strict=True):
            kind, _, parameter = name.partition("/")
            values[f"{kind}_norm/{parameter}"] = norm
            squares[kind] += norm * norm
            if spread:
                low, high, *counts = spread
                width = (high - low) / len(counts)
                edges = [low + width * index for index in range(len(counts))] + [high]
                values[name] = Histogram(counts=[round(count) for count in counts], edges=edges)
        totals = {f"{kind}_norm": square**0.5 for kind, square in squares.items()}
        runs = open_runs(self._report, callback_handler)
        for run in runs:
            run.log({**totals, **values}, step=measured.step)
        if not runs:
            self._for_log = totals


def _row(torch: Any, tensor: Any, bins: int) -> Any:
    """Compute norm, lowest and highest finite value and counts of a tensor, as one tensor of 1 or 3 + bins doubles.

    No step of it reads from the device: not even the range, for which torch.histc would.
    """
    tensor = _as_floats(torch, tensor.detach())
    norm = torch.linalg.vector_norm(tensor, dtype=torch.float32)
    if hasattr(norm, "full_tensor"):  # sharded: a sum over all processes, each of which is here
        norm, tensor = norm.full_tensor(), tensor.to_local()
    exact = torch.float32 if tensor.device.type == "mps" else torch.float64
    norm = norm.to(exact).reshape(1)
    if not bins:
        return norm
    values = tensor.flatten().to(torch.float32)
    if not values.numel():  # there are more processes than shards
        return torch.cat((norm, norm.new_zeros(2 + bins)))
    is_finite = torch.isfinite(values)
    low = torch.where(is_finite, values, torch.inf).amin()
    high = torch.where(is_finite, values, -torch.inf).amax()
    low, high = torch.where(low > high, 0.0, low), torch.where(low > high, 0.0, high)
    is_flat = low == high  # of one value only, or of none: a range around it
    low, high = torch.where(is_flat, low - 0.5, low), torch.where(is_flat, high + 0.5, high)
    shares = torch.where(is_finite, (values - low) / (high - low), -1.0)
    counts = _counts(torch, shares, is_finite, bins).to(exact)
    return torch.cat((norm, torch.stack((low, high)).to(exact), counts))


def _counts(torch: Any, shares: Any, is_finite: Any, bins: int) -> Any:
    """Count how many of the shares from 0 to 1 lie in each bin."""
    if shares.device.type == "cuda" and not torch.are_deterministic_algorithms_enabled():
        return torch.histc(shares, bins, 0.0, 1.0)  # counts in shared memory: adding to a few places is slow there
    places = (shares * bins).long().clamp(0, bins - 1)
    counts = torch.zeros(
        bins, dtype=torch.float32 if shares.device.type == "mps" else torch.float64, device=shares.device
    )
    return counts.scatter_add_(0, places, is_finite.to(counts.dtype))


def _as_floats(torch: Any, tensor: Any) -> Any:
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor if tensor.is_floating_point() else tensor.to(torch.float32)


def _to_host(torch: Any, rows: Any) -> tuple[Any, Any]:
    """Start the copy to the host; return it with a function that tells whether it is there, and may wait for it."""
    streams = getattr(torch, rows.device.type, None)
    if rows.device.type not in ("cuda", "xpu") or streams is None:
        return rows.cpu(), lambda **_: True
    with streams.device(rows.device):
        host = rows.to("cpu", non_blocking=True)
        event = streams.Event()
        event.record()

    def is_ready(waits: bool = False) -> bool:
        if waits:
            event.synchronize()
        return bool(event.query())

    return host, is_ready
