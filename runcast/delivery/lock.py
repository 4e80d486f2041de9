"""One delivery at a time: the lock of a tracker's folder."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from runcast.journal import locks

# The exit codes of a delivery process. 0: complete. Another delivery holds the tracker; the tracker has refused the
# run; records still wait; a fresh process should continue.
EXIT_BUSY, EXIT_REFUSED, EXIT_SUSPENDED, EXIT_RESTART = 4, 5, 6, 7


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
