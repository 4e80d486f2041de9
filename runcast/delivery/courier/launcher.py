"""Starts several deliveries in one session, and so in one scheduling group: a script that imports nothing of ours.

Linux shares the processors out between sessions. Seven deliveries that were sessions of their own would be seven small
groups, and take seven small shares from a training that keeps every processor busy; together they take one.

Its standard input is a socket: it brings a line of JSON, and takes a line with the process ids back. The processes are
made with CLONE_PARENT, which makes them children of the training process, not of this one: it sees them end, they see
it end, and this script can leave.
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
    """Return whether this system has what it takes, as far as that can be told without trying."""
    return os.path.exists("/proc/self/autogroup") and platform.machine() in SYSTEM_CALLS


def main() -> None:
    """Start what the line of input names: for each, its log, the descriptor of its input, and its command."""
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
        with contextlib.suppress(BrokenPipeError):  # the training is gone already: its run is closed all the same
            os.write(0, b"%d\n" % child)
    os._exit(0)  # sooner than an interpreter that tidies up


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
