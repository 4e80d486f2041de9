"""The delivery processes of a run, as the training process starts, wakes, watches and restarts them.

Nothing here waits unless asked to.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from runcast.delivery.attempts import backoff_s
from runcast.delivery.courier.priority import LOWEST, set_group_niceness
from runcast.delivery.courier.spawning import (
    NO_SIGNAL,
    Launched,
    Plan,
    Process,
    delivery_command,
    start_alone,
    training_itself,
)
from runcast.delivery.trust import Orders
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import make_private, shown
from runcast.journal.state import DeliveryState, is_over, load_state
from runcast.redaction.console import warn

HAND_OVER_S = 5.0  # for a first message that is larger than the pipe's buffer


class ChildProcess:
    """The delivery process of one tracker, for one session of a run.

    If it dies before its work is done, it is restarted after a growing pause.
    """

    def __init__(
        self, directory: RunDirectory, name: str, orders: Orders, environment: Mapping[str, str], session: int
    ) -> None:
        self.directory, self.name, self.environment, self.session = directory, name, environment, session
        self.folder = directory.tracker(name)
        self._message = msgspec.json.encode(orders) + b"\n"
        self._process: Process | None = None
        self._line: socket.socket | None = None
        self._deaths = 0
        self._restart_at = 0.0
        self._seen: tuple[int, ...] = ()
        self._state = DeliveryState()
        self._is_hurried = False
        self.reported = False
        self.reported_refusals: set[str] = set()

    def start(self) -> None:
        """Start the process, which waits for `go`."""
        try:
            with training_itself() as training, self.plan(training) as plan:
                self._process = start_alone(plan, self.environment, training)
        except OSError as error:
            self.failed(error)

    @contextlib.contextmanager
    def plan(self, training: Sequence[int]) -> Iterator[Plan]:
        """Prepare the process and a pipe to it; *training* is a descriptor of this process, or None.

        Raises:
            OSError: Its folder cannot be made.
        """
        self._process = None
        self._close_line()
        make_private(self.folder)
        mode = ["--training", str(os.getpid()), "--session", str(self.session)]
        mode += [part for each in training for part in ("--descriptor", str(each))]
        self._line, theirs = socket.socketpair()
        with theirs:
            yield Plan(delivery_command(self.directory, self.name, *mode), self.folder / "delivery.log", theirs)

    def began(self, process: Process) -> None:
        """Take over a process that was started by other means."""
        self._process = process

    def failed(self, error: OSError) -> None:
        """Report that the process could not be started; another attempt follows."""
        self._close_line()
        self._restart_at = time.monotonic() + backoff_s(self._deaths + 1)
        warn(
            f"the delivery to {self.name} could not be started ({error}). Its records wait in the journal: "
            f"runcast sync {shown(self.directory.path)}"
        )

    def go(self) -> None:
        """Send the process its orders, which lets it begin."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # it is dead: `check` will notice
                self._line.settimeout(HAND_OVER_S)
                self._line.sendall(b"\n" + self._message, NO_SIGNAL)
                self._line.setblocking(False)

    def wake(self) -> None:
        """Tell the process that there is news."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # it is dead, or already has unread news
                self._line.send(b"\n", NO_SIGNAL)

    def state(self) -> DeliveryState:
        """Return the last state of the delivery; the file is read only when it has changed."""
        with contextlib.suppress(OSError):
            found = os.stat(self.folder / "state.json")
            seen = found.st_mtime_ns, found.st_ino, found.st_size  # timestamps may be milliseconds apart at best
            if seen != self._seen:
                self._state, self._seen = load_state(self.folder) or self._state, seen
        return self._state

    def check(self) -> None:
        """Restart the process if it died before its work was done."""
        if self._process is not None and self._process.poll() is None:
            return
        if self.is_over():
            return
        if isinstance(self._process, Launched) and self._process.never_began:
            self._process = None
        if self._process is not None:
            self._deaths += 1
            self._restart_at = time.monotonic() + backoff_s(self._deaths)
            self._close_line()
            if self._deaths == 1:
                warn(
                    f"the delivery to {self.name} died (exit status {self._process.returncode}) and is started again; "
                    f"see {self.folder / 'delivery.log'}"
                )
            self._process = None
        if time.monotonic() >= self._restart_at:
            self.start()
            self.go()

    def hurry(self) -> None:
        """Give the process a normal share of the processors, because someone is waiting for it.

        The same goes for another process that holds the tracker, which this one may have to wait for.
        """
        self._is_hurried = True
        for pid in {self.state().pid, self._process.pid if self._process is not None else 0} - {0, os.getpid()}:
            set_group_niceness(pid, 0)

    def step_back(self) -> None:
        """Give the process the lowest priority again, if it was hurried."""
        if self._is_hurried and self._process is not None:
            self._is_hurried = not set_group_niceness(self._process.pid, LOWEST)

    def is_over(self) -> bool:
        """Return whether the session was closed, or refused for good."""
        return is_over(self.state(), self.session)

    def has_ended(self) -> bool:
        """Return whether the session is over and the process has ended."""
        return self.is_over() and (self._process is None or self._process.poll() is not None)

    def has(self, size_bytes: int) -> bool:
        """Return whether the tracker has received the journal's first *size_bytes*."""
        return self.state().cursor >= size_bytes

    def abandon(self) -> None:
        """Forget the process in a fork: it belongs to the parent."""
        if self._process is not None:
            self._process.returncode = 0
            self._close_line()
            self._process = None

    def _close_line(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):  # a daemon has closed it
                self._line.close()
            self._line = None

    def release(self) -> None:
        """Let the process end on its own: no more news will follow."""
        self._close_line()
        if self._process is not None:
            self._process.returncode = self._process.poll() or 0  # it may outlive us; avoid the ResourceWarning
