"""The default callbacks of a Trainer: flow, reporting, the hub, display."""

from typing import Any

import torch

from runcast.callbacks.flow import DefaultFlowCallback
from runcast.callbacks.hub import PushToHubCallback
from runcast.callbacks.progress import PrinterCallback, ProgressCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.core.functions import LambdaCallback
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.termination import TerminationCallback


def with_defaults(callbacks: list[Any], args: TrainingArguments) -> list[Any]:
    """Put the flow before the user's callbacks, reporting and display after them, unless they include their own."""
    brings = [callback if isinstance(callback, type) else type(callback) for callback in callbacks]

    def lack(*kinds: type) -> bool:
        return not any(issubclass(kind, kinds) for kind in brings)

    chosen: list[Any] = [DefaultFlowCallback] if lack(DefaultFlowCallback) else []
    chosen += callbacks
    if args.torch_empty_cache_steps is not None:
        chosen.append(LambdaCallback(on_step_end=_empty_cache, every=args.torch_empty_cache_steps))
    if lack(ReportCallback):
        report = ReportCallback(vars(args)["report_to"], project=args.project, name=args.run_name)
        chosen += [report] if report.is_on else []
    if args.push_to_hub and lack(PushToHubCallback):
        chosen.append(_hub(args))
    if args.enable_jit_checkpoint:
        chosen.append(TerminationCallback())
    if lack(ProgressCallback, PrinterCallback):
        chosen.append(PrinterCallback if args.disable_tqdm else ProgressCallback)
    return chosen


def _empty_cache(args: TrainingArguments, *_: Any, **__: Any) -> None:
    if args.device.type != "cpu":  # type: ignore[union-attr]
        torch.accelerator.empty_cache()


def _hub(args: TrainingArguments) -> PushToHubCallback:
    """Make the callback that pushes as the arguments say: at every save, or at the end only."""
    return PushToHubCallback(
        save_strategy="end" if args.hub_strategy == "end" else "save",
        checkpoint="all" if args.hub_strategy == "all_checkpoints" else args.hub_strategy == "checkpoint",
    )
