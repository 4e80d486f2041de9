"""One thread per tracker in the training process: for a Tracker object, or for who needs the tracker's own handle here.

It costs what the tracker costs (the interpreter lock), and nothing here can protect training from an SDK that crashes
the interpreter.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from runcast.core.console import warn
from runcast.core.errors import RuncastError, TrackerUnavailableError
from runcast.core.layout import RunDirectory, RunFile, TrackerChoice
from runcast.core.state import DeliveryState, load_state, save_state
from runcast.delivery.lock import exclusive
from runcast.delivery.loop import Delivery
from runcast.delivery.ranks import RankFiles, has_ranks
from runcast.delivery.refusals import report
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import Tracker
from runcast.integrations.loading import load_tracker

DONE = ("finished", "refused")


class TrackerThread(threading.Thread):
    """Delivers to one tracker."""

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
        choice = (
            target
            if isinstance(target, TrackerChoice)
            else TrackerChoice(tracker="", online=False, reason="given as an object")
        )
        self.tracked = tracked_run(directory, file, name, choice, options)
        self.ranks = RankFiles(directory, file) if has_ranks(directory) else None
        self.news, self.ended, self.told = threading.Event(), threading.Event(), False
        self.told_refusals: set[str] = set()

    def run(self) -> None:
        """Deliver until the run has ended; what fails is in the state."""
        folder = self.directory.tracker(self.tracker_name)
        try:
            tracker = (
                self.target
                if isinstance(self.target, Tracker)
                else load_tracker(self.target.tracker, self.target.environment)()
            )
        except RuncastError as error:
            save_state(folder, DeliveryState(phase="refused", error=str(error), traceback=repr(error.__cause__)))
            return
        with exclusive(folder) as mine:
            if not mine:
                warn(f"another process is delivering this run to {self.tracker_name}; this one leaves it alone.")
                return
            Delivery(
                self.directory,
                self.tracker_name,
                tracker,
                self.tracked,
                alive=lambda: not self.ended.is_set(),
                wait=self._wait,
                ranks=self.ranks,
            ).run()

    def _wait(self, timeout_s: float) -> None:
        self.news.wait(timeout_s)
        self.news.clear()

    def state(self) -> DeliveryState:
        """Return what the delivery last said."""
        return load_state(self.directory.tracker(self.tracker_name)) or DeliveryState()


class ThreadCarrier:
    """Holds the delivery threads of one run."""

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
        for thread in self._threads:
            thread.start()

    def check(self) -> RuncastError | None:
        """Tell of each tracker that failed for good, once; return the newest such failure."""
        failure = None
        for thread in self._threads:
            state = thread.state()
            report(thread.tracker_name, state, thread.directory, thread.told_refusals)
            if state.phase == "refused" and not thread.told:
                thread.told = True
                warn(f"{thread.tracker_name} is not reported to: {state.error}. Training goes on, nothing is lost.")
                failure = TrackerUnavailableError(f"{thread.tracker_name}: {state.error}\n{state.traceback or ''}")
        return failure

    def states(self) -> Mapping[str, DeliveryState]:
        """Return what each thread last said."""
        return {thread.tracker_name: thread.state() for thread in self._threads}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker that has not failed has the journal's first *size_bytes*."""
        return self._wait(lambda thread: thread.state().phase in DONE or thread.state().cursor >= size_bytes, timeout_s)

    def finish(self, timeout_s: float) -> bool:
        """Wait until every thread has closed its run."""
        for thread in self._threads:
            thread.ended.set()
        return self._wait(lambda thread: not thread.is_alive(), timeout_s) and all(
            t.state().phase == "finished" for t in self._threads
        )

    def _wait(self, is_done: Callable[[TrackerThread], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.news.set()
        while not all(is_done(thread) for thread in self._threads):
            if time.monotonic() > deadline:
                self.check()
                return False
            time.sleep(0.01)
        self.check()
        return True

    def abandon(self) -> None:
        """Forget the threads, which a fork does not have."""
        self._threads = []
