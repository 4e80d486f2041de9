"""Opening the deliveries of a run, each in a child process or a thread."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runcast.core.errors import OptionError, RuncastError, TrackerUnavailableError
from runcast.delivery.courier.children import ChildProcess
from runcast.delivery.courier.launcher import can_launch
from runcast.delivery.courier.spawning import (
    Launch,
    child_environment,
    training_itself,
)
from runcast.delivery.sending.refusals import is_delivered, report
from runcast.delivery.trust import LABELS, Orders, orders_for_training
from runcast.integrations.contract import Tracker
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import shown
from runcast.journal.state import Carrier, DeliveryState
from runcast.redaction.console import say, warn
from runcast.redaction.tree import redact_under


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
        orders = {name: orders_for_training(choice, own[name]) for name, choice in chosen.items()}
        carriers.append(ProcessCarrier(directory, orders, file.session))
    if objects or delivery == "thread":
        from runcast.delivery.courier.threads import ThreadCarrier

        targets: dict[str, Tracker | TrackerChoice] = {**(chosen if delivery == "thread" else {}), **objects}
        carriers.append(ThreadCarrier(directory, file, targets, own))
    return carriers[0] if len(carriers) == 1 else CarrierGroup(carriers)


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Redact the options that a tracker displays; it needs the others to log in."""
    return {key: redact_under(key, value) if key in LABELS else value for key, value in options.items()}


POLL_S = 0.02


REPORT_S = 3.0


class ProcessCarrier:
    """The delivery processes of one session of a run."""

    def __init__(self, directory: RunDirectory, orders: Mapping[str, Orders], session: int) -> None:
        self._lock = threading.Lock()
        environment = child_environment()
        self._launch: Launch | None = None
        self._waits = 0  # the number of threads that wait for the deliveries now
        self._children = [ChildProcess(directory, name, own, environment, session) for name, own in orders.items()]
        if len(self._children) > 1 and can_launch():
            self._start_together(environment)
        else:
            for child in self._children:
                child.start()
        for child in self._children:
            child.go()

    def _start_together(self, environment: Mapping[str, str]) -> None:
        """Start all in one session; the next `check` starts alone any process for which this fails."""
        with contextlib.ExitStack() as stack:
            training = stack.enter_context(training_itself())
            plans = {}
            for child in self._children:
                try:
                    plans[child] = stack.enter_context(child.plan(training))
                except OSError as error:
                    child.failed(error)
            try:
                self._launch = Launch(list(plans.values()), environment, training)
            except OSError as error:
                for child in plans:
                    child.failed(error)
                return
            for child, process in zip(plans, self._launch.processes, strict=True):
                child.began(process)
        self._launch.go()

    def check(self) -> RuncastError | None:
        """Restart dead processes, report each final failure once, and return the newest one."""
        failure = None
        if self._lock.acquire(blocking=False):
            try:
                for child in self._children:
                    child.check()
                    if not self._waits:
                        child.step_back()
                    failure = self._tell(child) or failure
            finally:
                self._lock.release()
        return failure

    def _tell(self, child: ChildProcess) -> RuncastError | None:
        state = child.state()
        if state.refused:
            report(child.name, state, child.directory, child.reported_refusals)
        if state.phase != "refused" or not child.is_over() or child.reported:
            return None
        child.reported = True
        warn(
            f"{child.name} has failed: {state.error}. Training continues and nothing is lost. Fix the cause, "
            f"then run: runcast sync {shown(child.directory.path)}"
        )
        return TrackerUnavailableError(f"{child.name}: {state.error}\n{state.traceback or ''}")

    def states(self) -> Mapping[str, DeliveryState]:
        """Return the last state of each delivery."""
        return {child.name: child.state() for child in self._children}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker that was not refused has the journal's first *size_bytes*."""
        self._waits += 1
        try:
            self._wait(lambda child: child.is_over() or child.has(size_bytes), timeout_s)
        finally:
            self._waits -= 1
            self.check()
        return all(child.has(size_bytes) for child in self._children)

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every process has closed its run; after the timeout, leave the rest running."""
        self._waits += 1
        try:
            self._wait(ChildProcess.has_ended, timeout_s, is_last=True)
        finally:
            for child in self._children:
                child.release()
            self._forget_launch()
        return all(is_delivered(child.state(), child.session, size_bytes) for child in self._children)

    def _wait(self, is_done: Callable[[ChildProcess], bool], timeout_s: float, *, is_last: bool = False) -> None:
        began, report_after_s = time.monotonic(), REPORT_S if is_last else float("inf")
        for child in self._children:
            child.wake()
        while missing := [child for child in self._children if not is_done(child)]:
            for child in missing:
                child.hurry()
            waited_s = time.monotonic() - began
            if waited_s > timeout_s:
                return
            if waited_s > report_after_s:
                say(f"waiting up to {timeout_s - waited_s:.0f} s for {', '.join(child.name for child in missing)}")
                report_after_s = float("inf")
            self.check()
            time.sleep(POLL_S)
        self.check()

    def abandon(self) -> None:
        """Forget the processes: this is a fork."""
        for child in self._children:
            child.abandon()
        self._forget_launch()

    def _forget_launch(self) -> None:
        if self._launch is not None:
            self._launch.forget()
            self._launch = None
