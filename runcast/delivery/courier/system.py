"""What only some systems have: scheduling groups, process descriptors, and exit codes from the C library.

Each function says what happens where its system call or file is missing; nothing else in the package asks which system
it runs on.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import time
from pathlib import Path

NICENESS = 10  # of a delivery beside a training: a tenth of a processor that the training keeps busy
LOWEST = 19
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # a script may die of SIGPIPE; a dead courier must not cause that

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO, from linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), which has 64 bytes
_EXIT = 1 << 3  # PIDFD_INFO_EXIT
_INFO = struct.Struct("=QQ11Ii")  # mask, cgroup, eleven ids, the status as of waitpid
GONE_S, PAUSE_S = 5.0, 0.01


def step_back() -> None:
    """Let other processes go first; threads and children inherit it.

    Niceness alone does not keep a waking process from preempting one that computes; Linux's policy "batch" does. An
    unprivileged process cannot lower its niceness again, so it is not the highest: at 19, two busy processes per
    processor would leave a delivery half a percent.
    """
    os.nice(NICENESS)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def set_group_niceness(pid: int, niceness: int) -> bool:
    """Set the niceness of a process's scheduling group; return whether it is set, or never can be.

    On Linux without control groups, each session is such a group, and between groups only their niceness counts. Unlike
    a process's own it can be lowered again, once every 100 ms by all unprivileged processes together. Elsewhere there
    are no such groups, and the niceness of `step_back` remains.
    """
    group = Path(f"/proc/{pid}/autogroup")
    try:
        if not group.read_text().rstrip().endswith(f" {niceness}"):
            group.write_text(str(niceness))
    except BlockingIOError:
        return False
    except OSError:
        pass  # there are no such groups, or the process is gone
    return True


def wants_processor(pid: int) -> bool:
    """Return whether a process computes or waits for a processor; one that waits for anything else does not."""
    import psutil  # needed in the courier only, and start-up counts

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_RUNNING)
    except psutil.Error:
        return False


def open_self() -> int | None:
    """Open a descriptor of this process that tells its children how it ended; None where that is not supported."""
    with contextlib.suppress(OSError, AttributeError):
        own = os.pidfd_open(os.getpid())
        try:
            # Above the standard streams, which a script may have closed.
            return fcntl.fcntl(own, fcntl.F_DUPFD_CLOEXEC, 3)
        finally:
            os.close(own)
    return None


def ended_by(descriptor: int | None) -> int | None:
    """Return the signal that ended a process that is not our child.

    None if it is alive, exited normally, or the system cannot tell: Linux can since 6.15.
    """
    if descriptor is None:
        return None
    deadline = time.monotonic() + GONE_S
    with contextlib.suppress(OSError):
        while select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
            answer = bytearray(_INFO.pack(_EXIT, *[0] * 13))
            fcntl.ioctl(descriptor, _GET_INFO, answer)
            mask, *_, status = _INFO.unpack(answer)
            if mask & _EXIT:
                return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            if time.monotonic() > deadline:
                break
            time.sleep(PAUSE_S)  # its parent has not waited for it yet; until then the status is unknown
    return None


def write_exit_code(descriptor: int) -> bool:
    """Have the C library write the exit code of this process, one byte, into a descriptor; it keeps a copy of that.

    An exit handler of Python cannot see the code of `sys.exit(3)`. Return False where there is no on_exit (musl,
    macOS): there, such a script counts as finished.
    """
    import ctypes  # needed at the exit only, and start-up counts

    libc = ctypes.CDLL(None)
    if not hasattr(libc, "on_exit"):
        return False
    libc.fdopen.restype = ctypes.c_void_p
    stream = libc.fdopen(os.dup(descriptor), b"w")
    libc.on_exit(libc.fputc, ctypes.c_void_p(stream))  # fputc's first argument is the exit code that on_exit passes
    return True


def waited_s() -> float:
    """Return how long the main thread has waited for a processor so far, in seconds; 0 where that is unknown."""
    try:
        with open("/proc/self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
