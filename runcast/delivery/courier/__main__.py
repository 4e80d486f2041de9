"""The program of a courier: `python -m runcast.delivery.courier RUN_DIRECTORY`, with its task on standard input.

Standard input is a socket to the process that started it. The deliveries that it forks leave `main` as well.
"""

import gc
import os
import socket
import sys
import traceback
from pathlib import Path

import msgspec

from runcast.delivery.courier.courier import Courier
from runcast.delivery.courier.messages import Task
from runcast.delivery.courier.sharing import import_shared
from runcast.delivery.process import carry_out
from runcast.journal.layout import RunDirectory


def main(path: str) -> None:
    """Read the task, and keep the deliveries until nothing is left to do."""
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # each delivery gets a standard input of its own
    os.close(nothing)
    text = b""
    while b"\n" not in text and (part := line.recv(1 << 16)):
        text += part
    if not text:
        return
    first, _, told = text.partition(b"\n")
    task = msgspec.json.decode(first, type=Task)
    courier = Courier(RunDirectory(Path(path)), task, line, told)
    job = courier.start_first()
    if job is None:
        if not task.only_corrects:
            import_shared(task.orders)
        gc.freeze()  # so that a collection in a delivery copies no page that it shares with this process
        job = courier.run()
    del courier
    if job is not None:
        carry_out(job)


if __name__ == "__main__":
    pid = os.getpid()
    try:
        main(sys.argv[1])
    except Exception:
        if os.getpid() == pid:  # a delivery has a log of its own, and its standard error goes there
            with open(Path(sys.argv[1]) / "courier.log", "a", encoding="utf-8") as log:
                traceback.print_exc(file=log)
        raise
