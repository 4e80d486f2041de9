"""The exit status of a process that is not our child, which Linux 6.15 and newer can tell."""

import contextlib
import fcntl
import os
import select
import struct
import time

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO, from linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), which has 64 bytes
_EXIT = 1 << 3  # PIDFD_INFO_EXIT
_INFO = struct.Struct("=QQ11Ii")  # mask, cgroup, eleven ids, the status as of waitpid
GONE_S, PAUSE_S = 5.0, 0.01


def open_self() -> int | None:
    """Return a descriptor of this process that tells its children how it ended; None where that is not supported."""
    with contextlib.suppress(OSError, AttributeError):
        return os.pidfd_open(os.getpid())
    return None


def ended_by(descriptor: int | None) -> int | None:
    """Return the signal that ended a process; None if it is alive, exited normally, or the kernel cannot tell."""
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
            time.sleep(
                PAUSE_S
            )  # it has ended, but its parent has not waited for it yet; until then the status is unknown
    return None
