"""One delivery at a time: the lock of a tracker's folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

EXIT_BUSY = 4  # how a delivery process ends that finds the lock taken


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Hold the tracker's lock; yields whether it was free.

    It ends with the process, also with a killed one, and no fork inherits it.
    """
    with open(os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def is_held(folder: Path) -> bool:
    """Tell whether another process is delivering to the tracker."""
    if not (folder / "lock").exists():
        return False
    with exclusive(folder) as mine:
        return not mine
