"""Ends every process that an interrupted test run leaves behind, however it was interrupted.

    python tests/guard.py PID MARK

Each pytest process, also one of xdist's, starts such a guard and puts a mark into its environment, which the processes
that its tests start inherit, and those of those. When the pytest process is gone, killed or not, its guard kills
whatever still has the mark.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

VARIABLE = "RUN_OF_THESE_TESTS"  # none of the prefixes that each test's environment is cleaned of
LONGEST_S = 10.0


def pytest_configure() -> None:
    """Start a guard of this process. Where there is no /proc, or no pidfd, leftovers stay."""
    if not hasattr(os, "pidfd_open") or not Path("/proc/self/environ").exists():
        return
    mark = uuid.uuid4().hex
    command = [sys.executable, "-S", "-E", __file__, str(os.getpid()), mark]
    without = {name: value for name, value in os.environ.items() if name != VARIABLE}
    guard = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=without, start_new_session=True
    )
    guard.returncode = 0  # it outlives us; no ResourceWarning for that
    os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')} {mark}"


def main(pid: int, mark: str) -> None:
    """Wait until a process is gone, then kill what it has left, and what that starts meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(pid)], [], [])
    deadline = time.monotonic() + LONGEST_S
    while (left := marked(mark)) and time.monotonic() < deadline:
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.05)


def marked(mark: str) -> list[int]:
    """List the processes that have a mark in their environment, but for those that have ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
