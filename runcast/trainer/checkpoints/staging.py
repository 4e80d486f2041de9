"""Writing in the background: tensors are copied to the host in the step, and a thread writes the copies.

A thread, as neither a process nor `torch.distributed.checkpoint.async_save` stalls a training for less: what writes,
checksums and syncs files does so without the interpreter's lock.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from runcast.core.errors import OptionError


def stager(device: torch.device) -> Callable[[Any], Any]:
    """Return what copies a structure of tensors to the host, each time to the same memory: pinned, for CUDA.

    Raises:
        OptionError: This torch cannot.
    """
    try:
        from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
    except ImportError as error:
        raise OptionError(f"async_save=True needs torch 2.9 or later, and this is {torch.__version__}.") from error
    stage: Callable[[Any], Any] = DefaultStager(
        StagingOptions(
            use_pinned_memory=device.type == "cuda",
            use_shared_memory=False,
            use_async_staging=False,
            use_non_blocking_copy=device.type == "cuda",
        )
    ).stage
    return stage


def run(steps: Iterator[None], *, in_thread: bool) -> "Future[None]":
    """Run something that yields once: up to there at once, the rest in a thread or at once, too.

    The future has what the rest raised, and an OSError from before.
    """
    written: Future[None] = Future()
    try:
        next(steps)
        if in_thread:
            pool = ThreadPoolExecutor(1, "runcast-checkpoint")
            written = pool.submit(next, steps, None)
            pool.shutdown(wait=False)  # the thread ends with what it writes, and the process not before it
        else:
            written.set_result(next(steps, None))
    except OSError as error:
        written.set_exception(error)
    return written
