"""Opening the deliveries of a run, with a courier or in threads."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runcast.core.errors import OptionError, RuncastError
from runcast.core.foreign import attempt, described
from runcast.delivery.attempts import backoff_s
from runcast.delivery.courier.client import CourierProcess
from runcast.delivery.courier.messages import EXITS, HURRY, REST, STAY, Report, Task
from runcast.delivery.giving_up import report_failure
from runcast.delivery.sending.refusals import is_delivered, report as report_refusals
from runcast.delivery.trust import LABELS, Orders, orders_for, orders_for_training
from runcast.integrations.contract import Tracker
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import argument
from runcast.journal.state import Carrier, DeliveryState, StateFile, is_over, load_state
from runcast.redaction.console import warn
from runcast.redaction.line import Line
from runcast.redaction.tree import redact_under

POLL_S = 0.02
REPORT_S = 2.0
STARTS = 3  # how often a courier that cannot be started at all is tried before nobody waits for it


class CarrierGroup:
    """Several carriers as one."""

    def __init__(self, carriers: list[Carrier]) -> None:
        self._carriers = carriers

    def check(self) -> RuncastError | None:
        """Check all; return the newest failure."""
        failures = [carrier.check() for carrier in self._carriers]
        return next((failure for failure in failures if failure), None)

    def states(self) -> Mapping[str, DeliveryState]:
        """Join the states of all."""
        return {name: state for carrier in self._carriers for name, state in carrier.states().items()}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait for each in turn, within one timeout; all of them work meanwhile."""
        return self._each(lambda carrier, left_s: carrier.flush(size_bytes, left_s), timeout_s)

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait for each in turn, within one timeout; all of them work meanwhile."""
        return self._each(lambda carrier, left_s: carrier.finish(size_bytes, left_s), timeout_s)

    def _each(self, wait: Callable[[Carrier, float], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        done = [wait(carrier, max(0.0, deadline - time.monotonic())) for carrier in self._carriers]
        return all(done)

    def await_exit_code(self) -> bool:
        """Have the exit code awaited by those that can."""
        awaited = [carrier.await_exit_code() for carrier in self._carriers]
        return any(awaited)

    def tell_exit_code(self) -> None:
        """Have the exit code told to those that can await it."""
        for carrier in self._carriers:
            carrier.tell_exit_code()

    def abandon(self) -> None:
        """Forget all."""
        for carrier in self._carriers:
            carrier.abandon()


def open_carrier(
    directory: RunDirectory,
    file: RunFile,
    chosen: Mapping[str, TrackerChoice],
    objects: Mapping[str, Tracker],
    setup: Mapping[str, Mapping[str, Any]],
    delivery: str,
) -> Carrier:
    """Start the deliveries to the chosen trackers, and to Tracker objects in threads.

    Raises:
        OptionError: An option in `setup` cannot travel to another process.
    """
    own = {name: _without_secrets(setup.get(name, {})) for name in (*chosen, *objects)}
    for name, options in own.items():
        try:
            msgspec.json.encode(options)
        except (TypeError, ValueError):
            if delivery == "process" and name in chosen:
                raise OptionError(
                    f"setup[{name!r}] holds an object that cannot travel to another process. Use plain values, or "
                    "delivery='thread'."
                ) from None
    carriers: list[Carrier] = []
    if delivery == "process" and chosen:
        carriers.append(ProcessCarrier(directory, orders_for_training(chosen, own), file.session))
    if objects or delivery == "thread":
        from runcast.delivery.courier.threads import ThreadCarrier

        targets: dict[str, Tracker | TrackerChoice] = {**(chosen if delivery == "thread" else {}), **objects}
        carriers.append(ThreadCarrier(directory, file, targets, own))
    return carriers[0] if len(carriers) == 1 else CarrierGroup(carriers)


def tell_exit_code(directory: RunDirectory, session: int) -> None:
    """Start a courier for nothing but the exit code of this process: the run has none, or it is gone."""
    file = directory.load()
    others = {name: choice for name, choice in file.trackers.items() if choice.tracker and not choice.measures}
    delivered = [name for name in others if load_state(directory.tracker(name))]
    orders = {name: orders_for(directory, file, name, own=True) for name in delivered}
    task = Task(orders=orders, mode="training", training=os.getpid(), session=session, only_corrects=True)
    courier = CourierProcess(directory, task)
    courier.start()
    courier.tell(STAY)
    courier.tell_exit_code(EXITS)


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Redact the options that a tracker displays; it needs the others to log in."""
    return {key: redact_under(key, value) if key in LABELS else value for key, value in options.items()}


class ProcessCarrier:
    """The courier of one session of a run, and the states of its deliveries."""

    def __init__(self, directory: RunDirectory, orders: Mapping[str, Orders], session: int) -> None:
        self._directory, self._session = directory, session
        self._lock = threading.Lock()
        self._is_death_known = False
        self._is_awaited = False  # the exit code of this process
        self._waits = 0  # the number of threads that wait for the deliveries now
        self._states = {name: StateFile(directory.tracker(name)) for name in orders}
        self._failed: set[str] = set()
        self._unstartable: set[tuple[str, str]] = set()
        self._refusals: dict[str, set[str]] = {name: set() for name in orders}
        self._starts, self._start_at, self._progress = 0, 0.0, 0
        task = Task(orders=dict(orders), mode="training", training=os.getpid(), session=session)
        self._courier = CourierProcess(directory, task)
        self._start()

    def _start(self) -> None:
        progress = sum(state.cursor for state in self.states().values())
        self._starts = self._starts + 1 if progress == self._progress else 1
        self._progress = progress
        self._start_at = time.monotonic() + backoff_s(self._starts)
        # Not only an OSError: a test may forbid sockets and processes, and an audit hook raises what it likes.
        attempt(self._courier.start, lambda error: self._warn_of_start("the deliveries", described(error)))
        if self._waits:
            self._courier.tell(HURRY)

    def _warn_of_start(self, what: str, error: str) -> None:
        if (what, error) in self._unstartable:
            return
        self._unstartable.add((what, error))
        warn(
            f"{what} could not be started ({error}). The records wait in the journal: runcast sync "
            f"{argument(self._directory.path)}"
        )

    def check(self) -> RuncastError | None:
        """Start another courier for a dead one, report each final failure once, and return the newest one."""
        failure = None
        if self._lock.acquire(blocking=False):
            try:
                for report in self._courier.reports():
                    self._pass_on(report)
                if self._is_gone() and time.monotonic() >= self._start_at:
                    self._warn_of_death()
                    self._start()
                for name in self._states:
                    failure = self._tell(name) or failure
            finally:
                self._lock.release()
        return failure

    def _is_gone(self) -> bool:
        """Return whether the courier has ended before its deliveries had closed the run or given up."""
        return not (self._courier.is_running() or self._courier.is_idle or self._are_over())

    def _warn_of_death(self) -> None:
        if self._courier.pid and not self._is_death_known:
            self._is_death_known = True
            warn("the process that keeps the deliveries died and is started again. Nothing is lost.")

    def _pass_on(self, report: Report) -> None:
        if report.event == "unstartable":
            self._warn_of_start(f"the delivery to {report.name}", report.error)
        elif report.event == "died":
            log = self._directory.tracker(report.name) / "delivery.log"
            warn(f"the delivery to {report.name} died (exit status {report.code}) and is started again; see {log}")

    def _tell(self, name: str) -> RuncastError | None:
        state = self._states[name].load()
        if state.refused:
            report_refusals(name, state, self._directory, self._refusals[name])
        if state.phase != "refused" or not is_over(state, self._session) or name in self._failed:
            return None
        self._failed.add(name)
        fix = f"Fix the cause, then run: runcast sync {argument(self._directory.path)}"
        return report_failure(name, str(state.error), state, fix)

    def _are_over(self) -> bool:
        return all(is_over(state, self._session) for state in self.states().values())

    def states(self) -> Mapping[str, DeliveryState]:
        """Return the last state of each delivery."""
        return {name: file.load() for name, file in self._states.items()}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker that was not refused has the journal's first *size_bytes*."""
        self._waits += 1
        try:
            self._wait(lambda state: is_over(state, self._session) or state.cursor >= size_bytes, timeout_s)
        finally:
            self._waits -= 1
            if not self._waits:
                self._courier.tell(REST)
        return all(state.cursor >= size_bytes for state in self.states().values())

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every process has closed its run; after the timeout, leave the rest running."""
        self._waits += 1
        try:
            self._wait(lambda state: is_over(state, self._session), timeout_s, is_last=True)
        finally:
            if not self._is_awaited:
                self._courier.release()
        return all(is_delivered(state, self._session, size_bytes) for state in self.states().values())

    def _wait(self, is_done: Callable[[DeliveryState], bool], timeout_s: float, *, is_last: bool = False) -> None:
        began, line = time.monotonic(), Line()
        self._courier.tell(HURRY)
        try:
            while True:
                self.check()
                missing = [name for name, state in self.states().items() if not is_done(state)]
                if (not missing or self._courier.is_idle) and not (is_last and self._is_busy()):
                    return
                waited_s = time.monotonic() - began
                if waited_s > timeout_s or (not self._courier.pid and self._starts >= STARTS):
                    return
                if is_last and waited_s > REPORT_S:
                    done = f"{len(self._states) - len(missing)} of {len(self._states)} delivered"
                    rest = ", ".join(missing) or "the SDKs to close"
                    line.show(f"{done}; waiting up to {timeout_s - waited_s:.0f} s for {rest}")
                time.sleep(POLL_S)
        finally:
            line.clear()

    def _is_busy(self) -> bool:
        """Return whether the courier has yet to end, or to wait for nothing but the exit code."""
        return self._courier.is_running() and not (self._is_awaited and self._courier.is_idle)

    def await_exit_code(self) -> bool:
        """Have the courier stay until it knows the exit code of this process; return whether it lives."""
        self._courier.tell(STAY)
        self._is_awaited = self._courier.is_running()
        return self._is_awaited

    def tell_exit_code(self) -> None:
        """Have the exit code of this process told to the courier."""
        self._courier.tell_exit_code(EXITS)

    def abandon(self) -> None:
        """Forget the courier: this is a fork."""
        self._courier.abandon()
