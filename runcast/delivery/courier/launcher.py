"""A script that starts several deliveries in one session, and so in one scheduling group, without importing our code.

Linux divides processor time between sessions. Seven deliveries in sessions of their own would take seven small shares
from a training that keeps every processor busy; in one session they take one.

Its standard input is a socket: the script reads a line of JSON from it and writes the process ids back. The processes
are created with CLONE_PARENT, as children of the training process. So both notice when the other ends, and this script
can exit.
"""

import contextlib
import ctypes
import json
import os
import platform
import signal

CLONE_PARENT = 0x8000  # from linux/sched.h
SYSTEM_CALLS = {"x86_64": 56, "aarch64": 220}  # of clone, from asm/unistd.h


def can_launch() -> bool:
    """Return whether this system seems to support it."""
    return os.path.exists("/proc/self/autogroup") and platform.machine() in SYSTEM_CALLS


def main() -> None:
    """Start the processes named in the input: each with its log, the descriptor of its input, and its command."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            return
        line += part
    plans = json.loads(line)
    for _, descriptor, _ in plans:
        os.set_inheritable(descriptor, False)
    library = ctypes.CDLL(None)
    number = SYSTEM_CALLS[platform.machine()]
    for log, descriptor, command in plans:
        child = library.syscall(number, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            _become(log, descriptor, command)
        with contextlib.suppress(BrokenPipeError):  # the training has already ended; its run is closed all the same
            os.write(0, b"%d\n" % child)
    os._exit(0)  # faster than a full interpreter shutdown


def _become(log: str, descriptor: int, command: list[str]) -> None:
    try:
        os.setpgid(0, 0)
        os.dup2(descriptor, 0)
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do
    finally:
        os._exit(127)


if __name__ == "__main__":
    main()
