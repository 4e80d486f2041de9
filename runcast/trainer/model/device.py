"""Where the computation runs, in which precision, from which seed; and how a batch gets there."""

import contextlib
import os
import random
from typing import Any

import torch

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments


def pick_device(args: TrainingArguments) -> torch.device:
    """Choose cuda, xpu, mps or cpu: what there is, in this order; under torchrun, the local rank's own.

    Raises:
        OptionError: The requested device or precision is not available.
    """
    device: Any = args.device
    asked = args.to_dict()["device"]
    best = torch.accelerator.current_accelerator(check_available=True)
    if device.index is not None and args.world_size > 1:
        raise OptionError(f"device={asked!r}, but each process takes a device of its own. Say device={device.type!r}.")
    if device.type != "cpu" and (best is None or best.type != device.type):
        raise OptionError(_not_there(str(asked), best))
    if device.type in ("cuda", "xpu"):
        count = torch.accelerator.device_count()
        shown = f"this machine shows {count} {device.type} devices"
        index = args.local_process_index if device.index is None else device.index
        if index >= count and device.index is None:
            raise OptionError(
                f"LOCAL_RANK is {index}, but {shown}. Start no more processes: torchrun --nproc-per-node {count}"
            )
        if index >= count:
            raise OptionError(f"device={asked!r}, but {shown}. They are counted from 0.")
        device = torch.device(device.type, index)
        torch.accelerator.set_device_index(index)
    if args.fp16 and device.type == "cpu":
        raise OptionError("fp16=True needs a GPU, and none is used here. Use bf16=True, which a CPU has too.")
    if args.bf16 and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise OptionError(f"bf16=True, but {torch.cuda.get_device_name(device)} has no bfloat16. Use fp16=True.")
    return device


def _not_there(wanted: str, found: torch.device | None) -> str:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    why = (
        f"torch {torch.__version__} is built without CUDA"
        if wanted.startswith("cuda") and torch.version.cuda is None
        else f"torch finds {'none' if found is None else f'only {found.type}'} here"
    )
    seen = "" if hidden is None else f" CUDA_VISIBLE_DEVICES is {hidden!r}."
    return (
        f"device={wanted!r} was asked for, but {why}.{seen} Leave device out to train on what there is, or look at "
        "what `nvidia-smi` and `python -m torch.utils.collect_env` say."
    )


def autocast(args: TrainingArguments, device: torch.device) -> torch.autocast | None:
    """Return the context in which forward passes run, which may be entered again and again; None in plain precision."""
    if not (args.bf16 or args.fp16):
        return None
    return torch.autocast(device.type, dtype=torch.bfloat16 if args.bf16 else torch.float16)


def sum_type(device: torch.device) -> torch.dtype:
    """Return the type in which to add up: doubles, where the device has them."""
    return torch.float32 if device.type == "mps" else torch.float64


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
        _set_tf32(args.tf32)


def uses_tf32() -> bool:
    """Return whether float32 matrix products on a CUDA device use TF32, in whichever way that was set."""
    matmul: Any = torch.backends.cuda.matmul
    if hasattr(matmul, "fp32_precision"):  # from torch 2.9 on; where both ways were used, the older one cannot be read
        return bool(matmul.fp32_precision == "tf32")
    return bool(matmul.allow_tf32)


def _set_tf32(on: bool) -> None:
    """Switch TF32 on or off in both ways that torch has.

    Each is read somewhere, by torch.compile too, and reading one raises where the other says something else.
    """
    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
    parts: list[Any] = [torch.backends.cuda.matmul, *(getattr(torch.backends.cudnn, n, None) for n in ("conv", "rnn"))]
    for part in parts:
        if hasattr(part, "fp32_precision"):
            part.fp32_precision = "tf32" if on else "ieee"
