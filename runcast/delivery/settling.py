"""What a process that imports an SDK does first: it reads its orders, and makes its surroundings safe."""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from runcast.delivery.trust import Orders
from runcast.redaction.console import Redacting


def settle_in(directory: Path) -> Orders:
    """Read the orders of this process, work where they say, and keep what an SDK writes from everybody else.

    Args:
        directory: The run's folder, where the process works if the script's working directory is gone.
    """
    os.umask(0o077)  # whatever an SDK writes is for the owner of the run
    sys.stderr = Redacting(sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the keyboard is for who started this process
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    orders = _read_orders()
    for folder in (orders.here or ".", directory):  # an SDK asks where it is
        with contextlib.suppress(OSError):
            os.chdir(folder)
            os.getcwd()
            break
    if orders.path:
        sys.path[:] = orders.path
    if orders.from_here:
        sys.path.append(os.getcwd())
    return orders


def _read_orders() -> Orders:
    """Read what to do from standard input: nothing that lies in the run's folder says what is imported here."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            break
        line += part
    return msgspec.json.decode(line.split(b"\n")[0], type=Orders) if line else Orders()
