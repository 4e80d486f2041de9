"""Where the computation runs, in which precision, from which seed; and how a batch gets there."""

import contextlib
import dataclasses
import os
import random
from collections.abc import Mapping
from typing import Any

import torch

from runcast.core.errors import OptionError
from runcast.trainer.arguments import TrainingArguments


def pick_device(args: TrainingArguments) -> torch.device:
    """Choose cuda, xpu, mps or cpu: what there is, in this order; under torchrun, the local rank's own.

    Raises:
        OptionError: The precision that was asked for cannot be had there.
    """
    device = torch.device("cpu")
    if not args.use_cpu and (accelerator := torch.accelerator.current_accelerator(check_available=True)) is not None:
        device = accelerator
        if device.type in ("cuda", "xpu"):
            index = int(os.environ.get("LOCAL_RANK", 0))
            count = torch.accelerator.device_count()
            if index >= count:
                shown = f"this machine shows {count} {device.type} devices"
                raise OptionError(
                    f"LOCAL_RANK is {index}, but {shown}. Start no more processes: torchrun --nproc-per-node {count}"
                )
            device = torch.device(device.type, index)
            torch.accelerator.set_device_index(index)
    if args.fp16 and device.type == "cpu":
        raise OptionError("fp16=True needs a GPU, and none is used here. Use bf16=True, which a CPU has too.")
    if args.bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise OptionError(f"bf16=True, but {torch.cuda.get_device_name(device)} has no bfloat16. Use fp16=True.")
    return device


def autocast(args: TrainingArguments, device: torch.device) -> Any:
    """Return the context in which forward passes run; it may be entered again and again."""
    if not (args.bf16 or args.fp16):
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)


def set_seed(args: TrainingArguments) -> None:
    """Seed Python, NumPy and torch on every device; choose deterministic algorithms and TF32 as asked."""
    random.seed(args.seed)
    with contextlib.suppress(ImportError):
        import numpy as np

        np.random.seed(args.seed % 2**32)
    torch.manual_seed(args.seed)
    if args.full_determinism:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    if args.tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = args.tf32
        torch.backends.cudnn.allow_tf32 = args.tf32


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, however nested, without waiting for the copy."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        return dataclasses.replace(
            batch, **{f.name: to_device(getattr(batch, f.name), device) for f in dataclasses.fields(batch) if f.init}
        )
    return batch
