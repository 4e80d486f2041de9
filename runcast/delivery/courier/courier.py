"""The courier: the one child of a training process, which owns the deliveries of its run.

It forks one delivery per tracker, starts again what dies, wakes them for new records, and is the only process that sees
how the training ended. It imports no SDK.
"""

import contextlib
import os
import select
import signal
import socket
import time

import msgspec

from runcast.core.errors import JournalError
from runcast.delivery.courier.child import Child
from runcast.delivery.courier.messages import EXITS, HURRY, NEWS, OVER, REST, STAY, Report, Task
from runcast.delivery.courier.pacing import Pace
from runcast.delivery.courier.sharing import is_meter
from runcast.delivery.courier.system import NO_SIGNAL, ended_by, step_back
from runcast.delivery.liveness import end_run, last_status
from runcast.delivery.lock import EXIT_REFUSED, EXIT_RESTART, EXIT_SUSPENDED
from runcast.delivery.process import Job
from runcast.delivery.ranks import has_ranks
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import journal_size
from runcast.journal.records import Status
from runcast.journal.status import status_of_code

TOLD_TO_GO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)
RESTARTS = 3  # how often a delivery is started again once the run is over
TICK_S, IDLE_S = 1.0, 10.0  # between two looks; while no delivery runs
END_S, PAUSE_S = 3.0, 0.05  # for deliveries that are told to end; ClearML ignores the signal


class Courier:
    """The deliveries of one run, and what is known of its training.

    Args:
        directory: The run's folder.
        task: What to deliver.
        line: The socket to the process that started this one.
        told: What that process has already sent, after the task.
    """

    def __init__(self, directory: RunDirectory, task: Task, line: socket.socket, told: bytes = b"") -> None:
        self._directory, self._task, self._line = directory, task, line
        self._line.setblocking(False)
        self._is_open = True  # the line
        self._is_over = self._stays = self._exits = self._is_idle = False
        self._pace = Pace()
        self._pid = os.getpid()
        self._called_for = self._target = 0
        self._late_s, self._seen_at = 0.0, time.monotonic()
        jobs = [
            Job(directory=directory, name=name, orders=orders, mode=task.mode, session=task.session)
            for name, orders in task.orders.items()
        ]
        self._children = [Child(job, is_done=task.only_corrects) for job in jobs]
        self._signals, self._signalled = os.pipe()
        for descriptor in (self._signals, self._signalled):
            os.set_blocking(descriptor, False)
        self._obey(told)

    def start_first(self) -> Job | None:
        """Start the meters, before the others' imports: a meter lacks what it does not see from the beginning.

        Return None, or in a process that was forked the job that it has to carry out.
        """
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C concerns the process that started this one
        if self._task.mode == "training":
            # Slurm and systemd send SIGTERM to all processes of a job, and the end of the training is to be delivered.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for child in self._children:
            if child.is_due() and is_meter(child.job.name) and self._start(child):
                if self._task.mode == "training":
                    step_back()
                return child.job
        return None

    def run(self) -> Job | None:
        """Keep the deliveries until nothing is left to do.

        Return None then. A process that was forked returns the job that it has to carry out instead.
        """
        if self._task.mode == "training":
            step_back()
        try:
            while True:
                for child in self._children:
                    if child.is_due() and self._start(child):
                        return child.job
                self._call()
                self._listen()
                for child in self._children:
                    self._see(child)
                if self._is_done():
                    return None
        finally:
            if os.getpid() == self._pid:
                self._end()

    def _start(self, child: Child) -> bool:
        """Start a delivery; return whether this is its process."""
        try:
            is_forked = child.start()
        except OSError as error:
            child.is_done = child.job.mode == "once"
            self._report(Report(event="unstartable", name=child.job.name, error=str(error)))
            return False
        if is_forked:
            for other in self._children:
                other.close()
            self._line.close()
            for descriptor in (self._signals, self._signalled, self._task.descriptor):
                if descriptor is not None:
                    os.close(descriptor)
        elif self._is_over:
            child.tell(OVER)
        return is_forked

    def _listen(self) -> None:
        """Sleep until something happens, for a moment at most, and find out what it was."""
        sources: list[socket.socket | int] = [self._signals, *([self._line] if self._is_open else [])]
        longest_s = IDLE_S if self._is_idle else TICK_S
        select.select(sources, [], [], min([longest_s, *(child.starts_in_s() for child in self._children)]))
        with contextlib.suppress(BlockingIOError):
            os.read(self._signals, 4096)
        self._read()
        if self._task.training and not self._is_over and os.getppid() != self._task.training:
            self._read()
            if ended_by(self._task.descriptor) in TOLD_TO_GO:
                self._write_end("killed")
            self._is_over = self._pace.is_hurried = True
            for child in self._children:
                child.tell(OVER)

    def _read(self) -> None:
        while self._is_open:
            try:
                told = self._line.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                told = b""
            self._is_open = bool(told)
            self._obey(told)

    def _obey(self, told: bytes) -> None:
        for each in told:
            if self._exits:
                self._correct(each)
                self._exits = self._stays = False
            elif each == HURRY[0]:
                self._pace.is_hurried = True
                self._called_for = -1
            elif each == REST[0]:
                self._pace.is_hurried = self._is_over
            elif each == STAY[0]:
                self._stays = True
            elif each == EXITS[0]:
                self._exits = True

    def _call(self) -> None:
        """Wake the deliveries if there is news for them, and give them their share of the processors."""
        try:
            size = journal_size(self._directory.journal)
        except OSError:  # a network share that is away for a moment
            return
        self._pace.look()
        if (size != self._called_for or has_ranks(self._directory)) and self._pace.is_time():
            for child in self._children:
                child.tell(NEWS)
            self._called_for = size
        behind = [child for child in self._children if child.is_behind(self._target)]
        passed_s, self._seen_at = time.monotonic() - self._seen_at, time.monotonic()
        if not behind:
            self._target, self._late_s = self._called_for, 0.0
        elif any(child.wants_processor() for child in behind):
            self._late_s += min(passed_s, 2 * TICK_S)
        self._pace.share(self._late_s)

    def _see(self, child: Child) -> None:
        """See whether a delivery has ended, and decide whether it is started again."""
        code = child.ended()
        if code is None:
            return
        name, is_once = child.job.name, child.job.mode == "once"
        if is_once:
            # Whoever waits for a delivery sees that it failed. For a correction nobody waits.
            is_needed = self._task.mode == "training" and code not in (0, EXIT_REFUSED)
            again = (code == EXIT_RESTART or is_needed) and child.deaths < RESTARTS
        elif self._is_over or last_status(self._directory) is not None:
            # Once the run is over, a delivery that gives up has been patient enough.
            again = not child.is_over() and code != EXIT_SUSPENDED and child.deaths < RESTARTS
        else:
            again = not child.is_over()
        if again:
            child.start_again(0.0 if code == EXIT_RESTART else None)
            if child.deaths == 1 and not is_once:
                self._report(Report(event="died", name=name, code=code))
        else:
            child.is_done = True
            self._report(Report(event="ended", name=name, code=code))

    def _is_done(self) -> bool:
        """Return whether nothing is left to do, and report once that no delivery runs."""
        if self._task.mode != "training" and not self._is_open:
            return True  # whoever waited for it has gone
        if not all(child.is_done for child in self._children):
            return False
        if not self._is_idle:
            self._is_idle = True
            self._report(Report(event="idle"))
        if self._stays:
            return self._is_over
        return not self._task.training or self._is_over or last_status(self._directory) is not None

    def _correct(self, code: int) -> None:
        """Correct the status of a script that had counted as finished when Python ended, by its exit code."""
        if code and self._write_end(status_of_code(code), f"SystemExit: {code}", instead_of="finished"):
            for child in self._children:
                child.correct()

    def _write_end(self, status: Status, error: str | None = None, instead_of: Status | None = None) -> bool:
        with contextlib.suppress(JournalError, OSError):
            return end_run(self._directory, status, error, session=self._task.session, instead_of=instead_of)
        return False

    def _report(self, report: Report) -> None:
        with contextlib.suppress(OSError):  # nobody reads it, or not fast enough
            self._line.send(msgspec.json.encode(report) + b"\n", NO_SIGNAL)

    def _end(self) -> None:
        """End the deliveries that are still running; the next ones find out what they have sent."""
        for child in self._children:
            child.kill(signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while any(child.is_running() for child in self._children):
            if time.monotonic() > deadline:
                for child in self._children:
                    child.kill(signal.SIGKILL)
            select.select([self._signals], [], [], PAUSE_S)
