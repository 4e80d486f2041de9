"""Takes from Python what only Linux has, for the processes of `test_other_systems.py`: they find this module first."""

import builtins
import ctypes
import io
import os
import socket
import sys
from typing import Any

for name in ("pidfd_open", "sched_setscheduler", "sched_param", "SCHED_BATCH"):
    if hasattr(os, name):
        delattr(os, name)
if hasattr(socket, "MSG_NOSIGNAL"):
    del socket.MSG_NOSIGNAL


def without_proc(original: Any) -> Any:
    """Return an `open` that finds no /proc when our code, or pathlib for it, asks."""

    def opened(file: Any, *arguments: Any, **options: Any) -> Any:
        caller = str(sys._getframe(1).f_globals.get("__name__", ""))
        if str(file).startswith("/proc/") and caller.startswith(("runcast", "pathlib")):
            raise FileNotFoundError(2, "No such file or directory", str(file))
        return original(file, *arguments, **options)

    return opened


builtins.open = without_proc(builtins.open)
io.open = without_proc(io.open)  # type: ignore[assignment]


if "WITHOUT_PROC" in os.environ:  # Linux in a chroot or a sandbox: psutil finds none either
    import psutil

    psutil.PROCFS_PATH = "/nowhere"


class Library(ctypes.CDLL):
    """A C library without on_exit."""

    def __getattr__(self, name: str) -> Any:
        if name == "on_exit":
            raise AttributeError(name)
        return super().__getattr__(name)


ctypes.CDLL = Library  # type: ignore[misc]
