"""A courier for the records in the journal now, watched until each delivery has ended."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Literal, TypeAlias

import msgspec

from runcast.delivery.addresses import open_command, place
from runcast.delivery.courier.client import CourierProcess
from runcast.delivery.courier.messages import Task
from runcast.delivery.courier.system import LOWEST, set_group_niceness
from runcast.delivery.liveness import is_training, is_visible
from runcast.delivery.lock import EXIT_BUSY, is_held
from runcast.delivery.sending.refusals import described, refusals
from runcast.delivery.trust import Orders
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import journal_size
from runcast.journal.state import DeliveryState, load_state, waiting_for
from runcast.redaction.console import say

BUSY = "another process is delivering to it"
POLL_S = 0.1
REPORT_S = 2.0  # a longer pause is reported
STUCK_S = 30.0  # how long to watch a failing delivery that makes no progress

Result: TypeAlias = Literal["complete", "open", "waiting", "refused", "busy", "unavailable", "absent"]
Progress: TypeAlias = Callable[[str, int, int], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one delivery.

    `delivered` points were added, `points` are there now, `waiting` ones are still in the journal.
    `result` is "complete" (everything is there and the run is closed), "open" (everything is there, the run continues),
    "waiting" (not everything is there yet), "refused" (the tracker rejects the run), "busy" (another process delivers),
    "unavailable" (it cannot be used here) or "absent" (a meter that did not run). `note` gives the reason, or the next
    step.
    """

    name: str
    result: Result
    delivered: int = 0
    points: int = 0
    waiting: int = 0
    where: str | None = None
    open_command: str | None = None
    note: str | None = None

    @property
    def is_right(self) -> bool:
        """Return whether nothing is left to do now."""
        return self.result in ("complete", "open", "absent")


def follow(directory: RunDirectory, names: Collection[str], progress: Progress | None) -> dict[str, Outcome]:
    """Hurry the running deliveries of other processes, and watch each until it has the present records.

    Return the outcome of each that has got so far, or makes no progress, beside a running training. The others have
    ended, and their remaining records still have to be delivered.
    """
    end = journal_size(directory.journal)
    before, totals = _states(directory, names), _totals(directory, names)
    outcomes: dict[str, Outcome] = {}
    moved = {name: (state.cursor, time.monotonic()) for name, state in before.items()}
    while left := [name for name in names if name not in outcomes and is_held(directory.tracker(name))]:
        states, file = _states(directory, left), directory.load()
        is_alive = is_training(file) or not is_visible(file)
        _tell(states, {name: totals[name] for name in left}, progress)
        for name, state in states.items():
            added = state.sent - before[name].sent
            if state.cursor != moved[name][0]:
                moved[name] = state.cursor, time.monotonic()
            if state.cursor >= end and is_alive:
                set_group_niceness(state.pid, LOWEST)
                outcomes[name] = outcome(directory, name, "open", state, delivered=added)
            elif state.phase == "retrying" and time.monotonic() - moved[name][1] > STUCK_S:
                waiting = waiting_for(directory.journal, name, state.cursor).points
                outcomes[name] = outcome(
                    directory, name, "waiting", state, delivered=added, waiting=waiting, note=state.error
                )
            elif state.pid:
                set_group_niceness(state.pid, 0)
        time.sleep(POLL_S)
    return outcomes


def deliver(directory: RunDirectory, orders: Mapping[str, Orders], progress: Progress | None) -> dict[str, Outcome]:
    """Have a courier deliver to each of these trackers, all at once, until all have ended."""
    if not orders:
        return {}
    before, totals = _states(directory, orders), _totals(directory, orders)
    codes: dict[str, int] = {}
    errors: dict[str, str] = {}
    reported: set[str] = set()
    courier = CourierProcess(directory, Task(orders=dict(orders), mode="once"), with_us=True)
    try:
        courier.start()
        is_running = True
        while is_running and not courier.is_idle:
            is_running = courier.is_running()  # before its last reports are read
            for report in courier.reports():
                codes[report.name], errors[report.name] = report.code, report.error
            states = _states(directory, orders)
            _tell(states, totals, progress)
            _report_pauses(states, reported)
            time.sleep(POLL_S)
    finally:
        courier.end()
    return {name: _ended(directory, name, before[name], codes.get(name), errors.get(name)) for name in orders}


def _totals(directory: RunDirectory, names: Collection[str]) -> dict[str, int]:
    return {
        name: state.points + waiting_for(directory.journal, name, state.cursor).points
        for name, state in _states(directory, names).items()
    }


def _states(directory: RunDirectory, names: Collection[str]) -> dict[str, DeliveryState]:
    return {name: load_state(directory.tracker(name)) or DeliveryState() for name in names}


def _tell(states: Mapping[str, DeliveryState], totals: dict[str, int], progress: Progress | None) -> None:
    if progress is not None:
        for name, total in totals.items():
            progress(name, states[name].points, total)


def _report_pauses(states: Mapping[str, DeliveryState], reported: set[str]) -> None:
    """Report each service that has asked for a pause, once."""
    for name, state in states.items():
        left = state.not_before - time.time() if state.phase == "retrying" else 0.0
        if left > REPORT_S and name not in reported:
            reported.add(name)
            say(f"{name} has asked for a pause: the next attempt is in {left:.0f} s")


def _ended(directory: RunDirectory, name: str, before: DeliveryState, code: int | None, error: str | None) -> Outcome:
    state = load_state(directory.tracker(name)) or DeliveryState()
    waiting = waiting_for(directory.journal, name, state.cursor).points
    added = state.sent - before.sent
    if code == EXIT_BUSY:
        return outcome(directory, name, "busy", state, note=BUSY)
    if state.phase == "finished" and not waiting:
        note = "; ".join(f"it refused {described(state, reason)}" for reason in refusals(state)) or None
        return outcome(directory, name, "complete", state, delivered=added, note=note)
    if state.phase == "refused":
        return outcome(directory, name, "refused", state, delivered=added, waiting=waiting, note=state.error)
    if state.phase == "suspended" and not state.error and not waiting:
        return outcome(directory, name, "open", state, delivered=added)
    log = directory.tracker(name) / "delivery.log"
    if state.phase == "finished":
        note = "a newer session of the run has begun meanwhile"
        return outcome(directory, name, "waiting", state, delivered=added, waiting=waiting, note=note)
    ended = "was killed" if code is None else f"ended with exit status {code}"
    note = error or state.error or f"its process {ended}; see {log}"
    return outcome(directory, name, "waiting", state, delivered=added, waiting=waiting, note=note)


def outcome(
    directory: RunDirectory,
    name: str,
    result: Result,
    state: DeliveryState | None,
    *,
    delivered: int = 0,
    waiting: int = 0,
    note: str | None = None,
) -> Outcome:
    """Derive the outcome of a tracker's delivery from its state."""
    where = place(directory, name, state)
    return Outcome(
        name=name,
        result=result,
        delivered=delivered,
        points=state.points if state else 0,
        waiting=waiting,
        where=where,
        open_command=open_command(directory, name, where),
        note=note,
    )
