"""A courier as the process that starts it sees it: it is given orders, and reports."""

import contextlib
import os
import signal
import socket
import subprocess

import msgspec

from runcast.delivery.courier.messages import Report, Task
from runcast.delivery.courier.spawning import child_environment, module_command, where_to_start
from runcast.delivery.courier.system import NO_SIGNAL, open_self, write_exit_code
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import absolute, move_apart

HAND_OVER_S = 5.0  # for a task that is larger than the socket's buffer
END_S = 5.0


class CourierProcess:
    """The courier of one run, as a child of this process. Nothing here waits unless asked to.

    Args:
        directory: The run's folder.
        task: What it has to deliver.
        with_us: Whether it belongs to this process's session and ends with it; otherwise Ctrl-C does not reach it.
    """

    def __init__(self, directory: RunDirectory, task: Task, *, with_us: bool = False) -> None:
        self._directory, self._task, self._with_us = directory, task, with_us
        self._environment = child_environment()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._heard = b""
        self.is_idle = False

    def start(self) -> None:
        """Start it, or another one in its place.

        Raises:
            OSError: It could not be started.
        """
        self._hang_up()
        self._heard, self.is_idle = b"", False
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as stack, contextlib.ExitStack() as always:
            stack.callback(ours.close)
            own = open_self() if self._task.training else None
            if own is not None:
                always.callback(os.close, own)
            self._process = subprocess.Popen(
                module_command("runcast.delivery.courier", str(absolute(self._directory.path))),
                stdin=theirs.fileno(),
                pass_fds=() if own is None else (own,),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=not self._with_us,
                cwd=where_to_start(self._directory.path),
                env=self._environment,
            )
            stack.pop_all()
        self._line = ours = socket.socket(fileno=move_apart(ours.detach()))
        with contextlib.suppress(OSError):  # it is dead, which `is_running` tells
            ours.settimeout(HAND_OVER_S)
            task = msgspec.structs.replace(self._task, descriptor=own)
            ours.sendall(msgspec.json.encode(task) + b"\n", NO_SIGNAL)
        ours.setblocking(False)

    @property
    def pid(self) -> int:
        """Return its process id; 0 if it was never started."""
        return self._process.pid if self._process is not None else 0

    def is_running(self) -> bool:
        """Return whether it lives."""
        return self._process is not None and self._process.poll() is None

    def tell(self, order: bytes) -> None:
        """Give it an order (`messages.py`)."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # it is dead, or has orders enough
                self._line.send(order, NO_SIGNAL)

    def tell_exit_code(self, order: bytes) -> None:
        """Have the exit code of this process told to it, after an order."""
        if self._line is not None:
            self.tell(order)
            with contextlib.suppress(OSError):
                write_exit_code(self._line.fileno())
        self.release()

    def reports(self) -> list[Report]:
        """Return what it has reported since the last call."""
        with contextlib.suppress(OSError):
            while self._line is not None and (part := self._line.recv(65536)):
                self._heard += part
        *lines, self._heard = self._heard.split(b"\n")
        reports = [msgspec.json.decode(line, type=Report) for line in lines]
        self.is_idle = self.is_idle or any(report.event == "idle" for report in reports)
        return reports

    def end(self) -> None:
        """End it, with its deliveries, and wait for that."""
        self._hang_up()
        if self._process is not None:
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGKILL)
                self._process.wait()

    def release(self) -> None:
        """Let it continue on its own: it gets no more orders."""
        self._hang_up()
        if self._process is not None:
            self._process.returncode = self._process.poll() or 0  # it may outlive us; avoid the ResourceWarning

    def abandon(self) -> None:
        """Forget it in a fork: it belongs to the parent."""
        if self._process is not None:
            self._process.returncode = 0
        self._process = None
        self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):  # a daemon has closed it
                self._line.close()
            self._line = None
