"""One delivery at a time: the lock of a tracker's folder."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from runcast.journal import locks

EXIT_BUSY, EXIT_RESTART = 4, 7  # how a delivery process ends that finds the lock taken, or wants a fresh one


@contextlib.contextmanager
def exclusive(folder: Path, wait: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold the tracker's lock; yields whether it was got.

    It ends with the process, also with a killed one, and no fork inherits it.

    Args:
        folder: The tracker's folder.
        wait: Called while somebody else has the lock: waits a while, and returns whether to try once more.
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
