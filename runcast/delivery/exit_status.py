"""How a process ended that is not our child: what the kernel says of it, where it does (Linux 6.15 or newer)."""

import contextlib
import fcntl
import os
import select
import struct

_GET_INFO = 0xC040FF0B  # PIDFD_GET_INFO, from linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), which has 64 bytes
_EXIT = 1 << 3  # PIDFD_INFO_EXIT
_INFO = struct.Struct("=QQ11Ii")  # mask, cgroup, eleven ids, the status as of waitpid
GONE_S = 1.0


class Watched:
    """Is a process that lives now, of which more can be said when it is gone.

    Args:
        pid: Its number. One that cannot be watched is one of which nothing is known.
    """

    def __init__(self, pid: int) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._descriptor = os.pidfd_open(pid)

    def signal(self) -> int | None:
        """Return the number of the signal that ended it; None if it lives, none did, or nobody knows."""
        if self._descriptor is None:
            return None
        with contextlib.suppress(OSError):
            if select.select([self._descriptor], [], [], GONE_S)[0]:
                answer = bytearray(_INFO.pack(_EXIT, *[0] * 13))
                fcntl.ioctl(self._descriptor, _GET_INFO, answer)
                mask, *_, status = _INFO.unpack(answer)
                if mask & _EXIT and os.WIFSIGNALED(status):
                    return os.WTERMSIG(status)
        return None
