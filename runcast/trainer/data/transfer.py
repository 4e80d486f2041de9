"""The way of batches to the device: copies that overlap the computation, one batch ahead."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import torch

Part = TypeVar("Part")


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


def prefetch(
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
