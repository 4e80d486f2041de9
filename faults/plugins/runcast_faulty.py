"""A third party's tracker, found as an entry point, that does harm at a chosen moment.

FAULT says what it does (a name in `FAULTS`), FAULT_MOMENT when, FAULT_MARK names a file that it makes just before. Without them it keeps every promise.
Each fault does to the process in which the tracker runs what an SDK that is buggy, or thinks that the process is its own, would do to it.
"""

import atexit
import contextlib
import ctypes
import logging
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runcast.integrations.contract import ArtifactFile, TrackedRun
from runcast.testing import MemoryTracker
from runcast.values.points import Point

FAULT, MOMENT, MARK = (os.environ.get(name, "") for name in ("FAULT", "FAULT_MOMENT", "FAULT_MARK"))
MIDDLE = 20  # the step from which on a training is in its middle
SLOW_S = 5.0
ROOM_BYTES = 256 * 2**20


class Odd(BaseException):
    """An exception that no `except Exception` catches."""


def raises() -> None:
    """Raise what no contract knows."""
    raise ZeroDivisionError("in the SDK")


def raises_oddly() -> None:
    """Raise what is no Exception."""
    raise Odd("in the SDK")


def hangs() -> None:
    """Never return."""
    threading.Event().wait()


def hangs_with_the_lock() -> None:
    """Never return, nor let any other thread of the interpreter run."""
    ctypes.PyDLL(None).sleep(600)


def is_slow() -> None:
    """Take five seconds."""
    time.sleep(SLOW_S)


def ends_the_process() -> None:
    """End the process without a word."""
    os._exit(7)


def exits() -> None:
    """End the process as Python does."""
    sys.exit(7)


def segfaults() -> None:
    """Read where there is no memory."""
    ctypes.string_at(0)


def fills_the_memory() -> None:
    """Take memory until there is none left, and then be killed, as the kernel would; the limit spares the machine."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, resource.RLIM_INFINITY))
    taken = []
    with contextlib.suppress(MemoryError):
        while True:
            taken.append(bytearray(2**24))
    os.kill(os.getpid(), signal.SIGKILL)


def writes_megabytes() -> None:
    """Fill standard error."""
    for _ in range(64):
        os.write(2, b"W" * 2**17 + b"\n")


def reseeds() -> None:
    """Seed every generator of random numbers."""
    import numpy as np
    import torch

    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)


def changes_the_directory() -> None:
    """Work somewhere else from now on."""
    os.chdir("/")


def changes_the_environment() -> None:
    """Forget the environment, and where modules lie."""
    os.environ.clear()
    os.environ["HOME"] = "/nowhere"
    sys.path.clear()


def changes_the_signals() -> None:
    """Take every signal that can be taken, and ignore it."""
    if threading.current_thread() is threading.main_thread():
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            with contextlib.suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)


def changes_the_hooks() -> None:
    """Take every hook of the interpreter, and raise in it."""

    def hook(*arguments: object) -> None:
        raise RuntimeError("in the SDK's hook")

    sys.excepthook = sys.unraisablehook = threading.excepthook = hook


def changes_the_logging() -> None:
    """Configure `logging` for the whole process: everything, to a handler that raises."""

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("in the SDK's handler")

    logging.getLogger().handlers[:] = [Raising()]
    logging.getLogger().setLevel(1)


def changes_torch() -> None:
    """Change the default dtype and the number of threads of torch."""
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(7)


def closes_the_standard_streams() -> None:
    """Close what every process has, as a library does that makes a daemon of its process."""
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def leaves_threads() -> None:
    """Leave a thread that the interpreter waits for."""
    threading.Thread(target=threading.Event().wait, daemon=False).start()


def forks() -> None:
    """Leave a child that holds on to what it has inherited."""
    if not os.fork():
        time.sleep(600)
        os._exit(0)


def forks_and_both_go_on() -> None:
    """Come back twice."""
    os.fork()


FAULTS: dict[str, Callable[[], None]] = {
    "raises": raises,
    "raises no Exception": raises_oddly,
    "hangs": hangs,
    "hangs with the lock": hangs_with_the_lock,
    "takes 5 s": is_slow,
    "os._exit": ends_the_process,
    "sys.exit": exits,
    "segfaults": segfaults,
    "fills memory": fills_the_memory,
    "writes 8 MB to stderr": writes_megabytes,
    "reseeds": reseeds,
    "changes cwd": changes_the_directory,
    "changes environment": changes_the_environment,
    "changes signal handlers": changes_the_signals,
    "changes hooks": changes_the_hooks,
    "changes logging": changes_the_logging,
    "changes torch": changes_torch,
    "closes streams": closes_the_standard_streams,
    "leaves threads": leaves_threads,
    "forks": forks,
    "forks, both go on": forks_and_both_go_on,
}


def meet(moment: str) -> None:
    """Do harm, if this is the moment."""
    if moment == MOMENT:
        with contextlib.suppress(OSError):
            Path(MARK).touch()
        FAULTS[FAULT]()


class FaultyTracker(MemoryTracker):
    """Keeps what it got in a file, and does harm."""

    name = "faulty"

    def setup(self, run: TrackedRun) -> None:
        atexit.register(meet, "interpreter exit")
        self._is_fresh = True
        meet("setup")
        super().setup(run)

    def log_metrics(self, points: Sequence[Point]) -> None:
        if FAULT == "forks, both go on":  # once the SDK is done: its own duplicates cannot be undone
            super().log_metrics(points)
            meet(MOMENT if MOMENT in ("first log", "mid-run") else "")
            return
        if self._is_fresh:
            meet("first log")
            self._is_fresh = False
        if MOMENT == "mid-run" and any(point.step >= MIDDLE for point in points):
            middle = len(points) // 2
            super().log_metrics(points[:middle])
            meet("mid-run")
            super().log_metrics(points[middle:])
        else:
            super().log_metrics(points)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        if artifact.name == "notes.txt":
            meet("artifact")
        super().log_artifact(artifact)

    def finish(self, ending: Any) -> None:
        meet("finish")
        super().finish(ending)


meet("import")
