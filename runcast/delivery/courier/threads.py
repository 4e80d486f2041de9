"""Delivery threads in the training process: for Tracker objects, or for access to a tracker's own handle.

Training pays for the tracker (the interpreter lock), and is not protected from an SDK that crashes the interpreter.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runcast.core.errors import RuncastError
from runcast.delivery.giving_up import refuse, refusing, report_failure
from runcast.delivery.lock import exclusive
from runcast.delivery.loop import Delivery
from runcast.delivery.ranks import RankFiles, has_ranks
from runcast.delivery.sending.refusals import is_delivered, report
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import Tracker
from runcast.integrations.loading import make_tracker
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import argument, make_private
from runcast.journal.state import DeliveryState, is_over, load_state
from runcast.redaction.console import warn

RESTARTS = 3  # how often a Tracker is replaced by a fresh one; a fresh process is not available here
TURN_S, POLL_S = 0.05, 0.01
LOOK_S = 0.25  # between two looks at the journal


class TrackerThread(threading.Thread):
    """The delivery to one tracker, for one session of a run."""

    def __init__(
        self,
        directory: RunDirectory,
        file: RunFile,
        name: str,
        target: Tracker | TrackerChoice,
        options: Mapping[str, Any],
    ) -> None:
        super().__init__(name=f"runcast-{name}", daemon=True)
        self.directory, self.tracker_name, self.target = directory, name, target
        self.file, self.options, self.session = file, options, file.session
        self.folder = directory.tracker(name)
        self.ranks = RankFiles(directory, file) if has_ranks(directory) else None
        self.news, self.ended, self.reported = threading.Event(), threading.Event(), False
        self.reported_refusals: set[str] = set()

    def run(self) -> None:
        """Deliver until the session has ended, after any earlier session; failures are recorded in the state."""
        try:
            make_private(self.folder)
            with exclusive(self.folder, self._wait_for_turn) as mine:
                if mine:  # otherwise a newer session's delivery covers everything that this one would deliver
                    with refusing(self.folder, self.session):
                        self._deliver()
        except OSError as error:
            warn(
                f"the delivery to {self.tracker_name} could not be started ({error}). Its records wait in the journal: "
                f"runcast sync {argument(self.directory.path)}"
            )

    def _deliver(self) -> None:
        try:
            tracker = self.target if isinstance(self.target, Tracker) else None
            for _ in range(RESTARTS):
                delivery = self._delivery(tracker or self._make())
                delivery.run()
                if not delivery.needs_restart:
                    return
                tracker = type(delivery.tracker)()
        except RuncastError as error:
            refuse(self.folder, self.session, error)

    def _make(self) -> Tracker:
        assert isinstance(self.target, TrackerChoice)
        return make_tracker(self.target.tracker, self.target.environment)

    def _delivery(self, tracker: Tracker) -> Delivery:
        choice = (
            self.target
            if isinstance(self.target, TrackerChoice)
            else TrackerChoice(tracker="", online=False, reason="given as an object")
        )
        return Delivery(
            self.directory,
            self.tracker_name,
            tracker,
            tracked_run(self.directory, self.file, self.tracker_name, choice, self.options),
            alive=lambda: not self.ended.is_set(),
            wait=self._wait,
            ranks=self.ranks,
            session=self.session,
        )

    def _wait(self, timeout_s: float) -> None:
        self.news.wait(min(timeout_s, LOOK_S))
        self.news.clear()

    def _wait_for_turn(self) -> bool:
        """Wait a while for the delivery of an earlier session; return whether to try again."""
        if self.state().session > self.session:
            return False
        time.sleep(TURN_S)
        return True

    def state(self) -> DeliveryState:
        """Return the last state of the delivery."""
        return load_state(self.folder) or DeliveryState()

    def is_over(self) -> bool:
        """Return whether the session was closed or refused, or is no longer being delivered."""
        return is_over(self.state(), self.session) or not self.is_alive()

    def has(self, size_bytes: int) -> bool:
        """Return whether the tracker has received the journal's first *size_bytes*."""
        return self.state().cursor >= size_bytes


class ThreadCarrier:
    """The delivery threads of one session of a run."""

    def __init__(
        self,
        directory: RunDirectory,
        file: RunFile,
        targets: Mapping[str, Tracker | TrackerChoice],
        options: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._threads = [
            TrackerThread(directory, file, name, target, options[name]) for name, target in targets.items()
        ]
        # SDKs import it, which fails once a short script has ended and Python shuts down.
        import concurrent.futures.thread  # noqa: F401 - imported late: rarely needed, and start-up counts

        for thread in self._threads:
            thread.start()

    def check(self) -> RuncastError | None:
        """Report each final failure once, and return the newest one."""
        failure = None
        for thread in self._threads:
            is_dead, state = not thread.is_alive() and not thread.ended.is_set(), thread.state()
            report(thread.tracker_name, state, thread.directory, thread.reported_refusals)
            is_refused = state.phase == "refused" if is_over(state, thread.session) else is_dead
            if is_refused and not thread.reported:
                thread.reported = True
                failure = report_failure(thread.tracker_name, state.error or "its thread has ended", state)
        return failure

    def states(self) -> Mapping[str, DeliveryState]:
        """Return the last state of each delivery."""
        return {thread.tracker_name: thread.state() for thread in self._threads}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker that was not refused has the journal's first *size_bytes*."""
        self._wait(lambda thread: thread.is_over() or thread.has(size_bytes), timeout_s)
        return all(thread.has(size_bytes) for thread in self._threads)

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every thread has closed its run."""
        for thread in self._threads:
            thread.ended.set()
        self._wait(lambda thread: not thread.is_alive(), timeout_s)
        return all(is_delivered(thread.state(), thread.session, size_bytes) for thread in self._threads)

    def _wait(self, is_done: Callable[[TrackerThread], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.news.set()
        while not all(is_done(thread) for thread in self._threads):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
        self.check()

    def await_exit_code(self) -> bool:
        """Return False: threads end before it is known."""
        return False

    def tell_exit_code(self) -> None:
        """Do nothing."""

    def abandon(self) -> None:
        """Forget the threads, which a fork does not have."""
        self._threads = []
