"""Locks on a file or a folder: one holder at a time among the threads and processes of a machine.

`flock` belongs to the open file. So two threads exclude each other, and closing the same file elsewhere in this process
does not release the lock, as it would with a POSIX lock. A fork shares the lock, and releases its copy at once.
"""

import contextlib
import fcntl
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from runcast.journal.paths import move_apart

TRIES, PAUSE_S = 5, 0.001  # another process may be probing right now (`is_held`)
# For work of milliseconds: a process that is suspended while holding the lock must not block the others.
LONGEST_S = 5.0


class FileLock:
    """A lock on a file, created if missing, or on a folder. It ends with its process, however that ends.

    On a file system without locks, every process gets it.
    """

    def __init__(self, path: Path, *, is_folder: bool = False) -> None:
        self._path = path
        self._mode = os.O_RDONLY | os.O_DIRECTORY if is_folder else os.O_RDWR | os.O_CREAT
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take the lock if it is free; return whether it was.

        Raises:
            OSError: The file cannot be opened.
        """
        descriptor = os.open(self._path, self._mode | os.O_CLOEXEC, 0o600)
        if not _is_taken(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = move_apart(descriptor)
        _let_go_in_forks()
        _HELD.add(self)
        return True

    def release(self) -> None:
        """Release the lock, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        _HELD.discard(self)
        if descriptor is not None:
            with contextlib.suppress(OSError):  # a daemon has closed it
                os.close(descriptor)


def is_held(path: Path) -> bool:
    """Return whether any thread or process holds the lock; False where there are no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def briefly(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for work of milliseconds; after some seconds of waiting, proceed without it."""
    lock, deadline = FileLock(folder, is_folder=True), time.monotonic() + LONGEST_S
    while not lock.take() and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    try:
        yield
    finally:
        lock.release()


_HELD: set[FileLock] = set()


def _is_taken(descriptor: int) -> bool:
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        except OSError:
            return True
        else:
            return True
    return False


@functools.cache
def _let_go_in_forks() -> None:
    """Make forks close their copies (registered once); otherwise a fork would hold the lock for as long as it lives."""
    os.register_at_fork(after_in_child=_let_go)


def _let_go() -> None:
    for lock in list(_HELD):
        lock.release()
