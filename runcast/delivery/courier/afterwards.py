"""Correction of a run's status by the exit code of its script, which Python's exit handlers cannot see.

An `atexit` handler cannot see `sys.exit(3)`, so it ends the run as "finished". The C library, which exits after Python,
knows the code: it writes it into a pipe, and this process reads the other end (`python -m
runcast.delivery.courier.afterwards RUN_DIRECTORY SESSION`). If the code is 0, it exits without a change.
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from pathlib import Path

from runcast.delivery.courier.once import deliver, wait_for_others
from runcast.delivery.courier.spawning import child_environment, module_command
from runcast.delivery.liveness import end_run
from runcast.delivery.trust import orders_for
from runcast.journal.layout import RunDirectory
from runcast.journal.seal import is_own
from runcast.journal.state import load_state
from runcast.journal.status import status_of_code

WAIT_S = 60.0  # for deliveries that still have work to do


def watch_exit(path: Path, session: int) -> None:
    """Start the process, and have the C library inform it; do nothing where it cannot (musl, macOS)."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "on_exit"):
        return
    reader, writer = os.pipe()
    with contextlib.suppress(OSError):
        process = subprocess.Popen(
            module_command("runcast.delivery.courier.afterwards", str(path.resolve()), str(session)),
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=child_environment(),
        )
        process.returncode = 0  # it outlives us; avoid the ResourceWarning
    os.close(reader)
    libc.fdopen.restype = ctypes.c_void_p
    stream = libc.fdopen(writer, b"w")
    libc.on_exit(libc.fputc, ctypes.c_void_p(stream))  # fputc's first argument is the exit code that on_exit passes


def main(path: str, session: int) -> None:
    """Wait for the exit code; if it is not 0, correct the status and deliver it to the trackers."""
    code = sys.stdin.buffer.read(1)
    if code in (b"", b"\0"):  # the process was killed after all, or the code is 0
        return
    directory = RunDirectory(Path(path))
    error = f"SystemExit: {code[0]}"
    if end_run(directory, status_of_code(code[0]), error, session=session, instead_of="finished"):
        file = directory.load()
        others = {name: c for name, c in file.trackers.items() if c.tracker and not c.measures}
        names = [name for name in others if load_state(directory.tracker(name))]
        wait_for_others(directory, names, WAIT_S, None)
        own = is_own(file)
        deliver(directory, {name: orders_for(directory, file, name, own=own) for name in names}, None)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
