"""Where the computation runs, in which precision, from which seed; and how a batch gets there."""

import contextlib
import dataclasses
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import torch

from runcast.core.errors import OptionError
from runcast.trainer.arguments import TrainingArguments

Part = TypeVar("Part")


def pick_device(args: TrainingArguments) -> torch.device:
    """Choose cuda, xpu, mps or cpu: what there is, in this order; under torchrun, the local rank's own.

    Raises:
        OptionError: The device or the precision that was asked for cannot be had.
    """
    device: Any = args.device
    asked = args.to_dict()["device"]
    best = torch.accelerator.current_accelerator(check_available=True)
    if device.index is not None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise OptionError(f"device={asked!r}, but each process takes a device of its own. Say device={device.type!r}.")
    if device.type != "cpu" and (best is None or best.type != device.type):
        raise OptionError(_not_there(str(asked), best))
    if device.type in ("cuda", "xpu"):
        count = torch.accelerator.device_count()
        shown = f"this machine shows {count} {device.type} devices"
        index = int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index
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


def to_device(batch: Any, device: torch.device) -> Any:
    """Move the tensors of a batch, however nested; without waiting for the copy where the device orders its work.

    MPS does not: it would read pageable memory that is overwritten meanwhile.
    """
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=device.type in ("cuda", "xpu"))
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


class Mover:
    """The way of batches to the device, on a stream of its own where there are streams: copies overlap computation.

    A batch that is not pinned, or is on a device already, is moved as well, without the overlap.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams = getattr(torch, device.type) if device.type in ("cuda", "xpu") else None
        self._stream = None if self._streams is None else self._streams.Stream(device)

    @property
    def overlaps(self) -> bool:
        """Return whether copies run beside the computation."""
        return self._stream is not None

    def send(self, batch: Any) -> Callable[[], Any]:
        """Start the copy of a batch. The function that is returned gives it to the computation.

        Nothing waits on the host: the stream of the computation waits for that of the copy.
        """
        if self._device.type == "cpu":
            return lambda: batch
        if self._streams is None or any(tensor.device.type != "cpu" for tensor in tensors_of(batch)):
            moved = to_device(batch, self._device)
            return lambda: moved
        with self._streams.stream(self._stream):
            moved = to_device(batch, self._device)
        copied = self._stream.record_event()  # type: ignore[union-attr]

        def receive() -> Any:
            computing = self._streams.current_stream(self._device)  # type: ignore[union-attr]
            computing.wait_event(copied)
            for tensor in tensors_of(moved):
                tensor.record_stream(computing)  # its memory is not given to a later copy while it is computed with
            return moved

        return receive


def sent_ahead(
    groups: Iterable[list[Part]], send: Callable[[Part], Callable[[], Part]], *, ahead: bool
) -> Iterator[list[tuple[Part, Callable[[], Part]]]]:
    """Yield groups of batches on the host, each with a function that gives it on the device.

    With `ahead`, the next batch is on its way while one is computed with, so that two of them take memory there.
    """
    every = iter(groups)
    group, sent = next(every, None), []
    if group and ahead:
        sent.append(send(group[0]))
    while group:
        following = next(every, None) if ahead else None
        queue = [*group[1:], *(following or [])[:1]] if ahead else []

        def receive(place: int, group: list[Part] = group, queue: list[Part] = queue) -> Part:
            first = sent.pop(0) if sent else send(group[place])
            if place < len(queue):
                sent.append(send(queue[place]))
            return first()

        yield [(batch, partial(receive, place)) for place, batch in enumerate(group)]
        group = following if ahead else next(every, None)


def tensors_of(batch: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of a batch, however nested."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        yield from tensors_of(list(vars(batch).values()))
    elif isinstance(batch, Mapping | list | tuple):
        for part in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_of(part)
