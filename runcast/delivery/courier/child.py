"""One delivery as its courier sees it: a forked process that is woken, watched and started again."""

import contextlib
import os
import signal
import socket
import time

import msgspec

from runcast.delivery.attempts import backoff_s
from runcast.delivery.courier.system import NO_SIGNAL, wants_processor
from runcast.delivery.process import Job
from runcast.journal.paths import make_private
from runcast.journal.state import StateFile, is_over


class Child:
    """The delivery process of one tracker.

    Args:
        job: What it has to deliver.
        is_done: Whether there is nothing to deliver yet.
    """

    def __init__(self, job: Job, *, is_done: bool = False) -> None:
        self.job, self.is_done, self.deaths = job, is_done, 0
        self._pid = 0
        self._folder = job.directory.tracker(job.name)
        self._state = StateFile(self._folder)
        self._line: socket.socket | None = None
        self._start_at = 0.0

    def is_over(self) -> bool:
        """Return whether the session was closed, or refused for good."""
        return is_over(self._state.load(), self.job.session)

    def is_running(self) -> bool:
        """Return whether the process lives."""
        self.ended()
        return self._pid != 0

    def is_behind(self, size_bytes: int) -> bool:
        """Return whether the process has yet to deliver the journal's first *size_bytes*, and nothing prevents it."""
        if not self._pid:
            return False
        state = self._state.load()
        return state.cursor < size_bytes and state.phase in ("starting", "delivering")

    def wants_processor(self) -> bool:
        """Return whether the process computes, or would if it had a processor: one that hangs does not."""
        return wants_processor(self._pid)

    def is_due(self) -> bool:
        """Return whether to start the process now."""
        return self.starts_in_s() <= 0

    def starts_in_s(self) -> float:
        """Return how long until the process is to be started; infinity if it runs or is done."""
        return float("inf") if self._pid or self.is_done else max(0.0, self._start_at - time.monotonic())

    def start(self) -> bool:
        """Fork; return whether this is the new process.

        Raises:
            OSError: It could not be started; a later attempt follows.
        """
        self._start_at = time.monotonic() + backoff_s(self.deaths + 1)
        make_private(self._folder)
        log = os.open(self._folder / "delivery.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            ours, theirs = socket.socketpair()
            with theirs, contextlib.ExitStack() as stack:
                stack.callback(ours.close)
                self._pid = os.fork()
                if not self._pid:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.setpgid(0, 0)  # an SDK that signals its process group reaches itself only
                    for target, source in enumerate((theirs.fileno(), log, log)):
                        os.dup2(source, target)
                    return True
                stack.pop_all()
        finally:
            os.close(log)
        ours.setblocking(False)
        self._line = ours
        return False

    def tell(self, what: bytes) -> None:
        """Tell the process that there is news, or that the training is over."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # it is dead, or already has unread news
                self._line.send(what, NO_SIGNAL)

    def ended(self) -> int | None:
        """Return the exit code if the process has just ended."""
        if not self._pid:
            return None
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return None
        self.close()
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def start_again(self, pause_s: float | None = None) -> None:
        """Have the process started again, after a pause that grows with each time."""
        self.deaths += 1
        self._start_at = time.monotonic() + (backoff_s(self.deaths) if pause_s is None else pause_s)

    def correct(self) -> None:
        """Have a record delivered that followed the end of the run; a meter is not asked again."""
        if not self.job.directory.load().trackers[self.job.name].measures:
            self.job, self.is_done = msgspec.structs.replace(self.job, mode="once", session=0), False
            self.deaths = 0

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def close(self) -> None:
        """Close the line to the process."""
        if self._line is not None:
            self._line.close()
            self._line = None
