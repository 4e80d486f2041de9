"""One delivery at a time: the lock of a tracker's folder."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from runcast.journal import locks

EXIT_BUSY, EXIT_RESTART = 4, 7  # exit codes of a delivery process that finds the lock taken, or needs a fresh process


@contextlib.contextmanager
def exclusive(folder: Path, wait: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold the tracker's lock; yield whether it was acquired.

    It ends with the process, even a killed one, and no fork inherits it.

    Args:
        folder: The tracker's folder.
        wait: Called while another holder has the lock: waits a while, and returns whether to try again.
    """
    lock = locks.FileLock(folder / "lock")
    while not (mine := lock.take()) and wait():
        pass
    try:
        yield mine
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Return whether a process or thread is delivering to the tracker."""
    return locks.is_held(folder / "lock")
