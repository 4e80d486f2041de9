"""What a delivery does with flytekit: files for the task's storage (read in 1.16.31).

Importing flytekit takes over the interrupt of the main thread; the delivery keeps its own.
"""

import signal
from pathlib import Path

OWN = signal.getsignal(signal.SIGINT)

from flytekit.core.checkpointer import SyncCheckpoint  # noqa: E402
from flytekit.core.context_manager import FlyteContextManager  # noqa: E402
from flytekit.exceptions.base import FlyteException  # noqa: E402

if signal.getsignal(signal.SIGINT) is not OWN:
    signal.signal(signal.SIGINT, OWN)


def save_checkpoint(path: Path, place: str) -> None:
    """Save a file, or what is in a folder, as the checkpoint of the task that has its checkpoint at *place*."""
    SyncCheckpoint(checkpoint_dest=place).save(path)


def upload(path: Path, place: str) -> None:
    """Copy a file or a folder to an address of the task's storage."""
    files = FlyteContextManager.current_context().file_access
    (files.upload_directory if path.is_dir() else files.upload)(str(path), place)


__all__ = ["FlyteException", "save_checkpoint", "upload"]
