"""The start of a process that imports an SDK: reading its orders, and isolating the process."""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from runcast.delivery.trust import Orders
from runcast.redaction.console import Redacting


def settle_in(directory: Path, orders: Orders) -> None:
    """Change to the orders' working directory and import path, and make an SDK's files private.

    Args:
        directory: The run's folder, the working directory if the script's own is gone.
        orders: What the process has to do.
    """
    os.umask(0o077)  # files of an SDK are readable by the run's owner only
    sys.stderr = Redacting(sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C concerns the process that started this one
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for folder in (orders.here or ".", directory):  # SDKs call getcwd
        with contextlib.suppress(OSError):
            os.chdir(folder)
            os.getcwd()
            break
    if orders.path:
        sys.path[:] = orders.path
    if orders.from_here:
        sys.path.append(os.getcwd())


def read_orders() -> Orders:
    """Read the orders of this process from standard input: no file in the run's folder decides what it imports."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            break
        line += part
    return msgspec.json.decode(line.split(b"\n")[0], type=Orders) if line else Orders()
