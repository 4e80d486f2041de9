"""The delivery loop: follows a journal and delivers it to one tracker, exactly once.

Before a batch is sent, the state file says how far it goes; afterwards the cursor follows. Whatever kills this process,
the next one knows what may have arrived, and asks the tracker itself (`recovery.py`).
"""

import logging
import os
import time
import traceback
from collections.abc import Callable

from runcast.core.errors import FinalError, GoneError, RestartError, TrackerUnavailableError
from runcast.delivery.attempts import Attempts, GaveUp
from runcast.delivery.latecomers import wait_for_meters, wait_for_ranks
from runcast.delivery.liveness import last_status
from runcast.delivery.metering import Metering
from runcast.delivery.ranks import RankFiles
from runcast.delivery.recovery import is_another_run
from runcast.delivery.sending.refusals import Refusals
from runcast.delivery.tracked import ending_of
from runcast.delivery.transfer import Transfer
from runcast.integrations.contract import TrackedRun, Tracker
from runcast.integrations.table import is_at_server
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import journal_size
from runcast.journal.state import EVERYTHING, DeliveryState, is_over, load_state, save_ids, save_state
from runcast.redaction.tree import redact_text
from runcast.values.scalars import Number

SAID = frozenset(("error", "traceback", "url"))  # by an SDK, whose messages may repeat its input
SHORT_S, LONG_S = 1.0, 30.0  # between two looks at the journal, if nobody wakes the delivery
LIVES = 3  # how often a run that keeps being deleted is recreated

log = logging.getLogger("runcast.delivery")


class Delivery:
    """The delivery of one run to one tracker. The tracker's methods are all called from the thread that calls `run`.

    Args:
        directory: The run's folder.
        name: The tracker's name.
        tracker: A fresh Tracker.
        tracked: The description of the run for the tracker.
        alive: Tells whether the training process still writes to the journal.
        wait: Sleeps up to a number of seconds; returns early when there are new records.
        follow: Whether to wait for more records while the training lives.
        patience_s: How long to keep trying once the run is over.
        when_over: Called once when the run has ended, before the tracker is closed.
        ranks: The files of the job's other ranks, if they log.
        session: The session to deliver and close, with the rest of earlier ones; a newer one has a delivery of its own.
            Default: all sessions.
        ask: Whether to ask the tracker what it has, and to send what it lacks, as after an unclean end.
    """

    def __init__(
        self,
        directory: RunDirectory,
        name: str,
        tracker: Tracker,
        tracked: TrackedRun,
        *,
        alive: Callable[[], bool],
        wait: Callable[[float], None],
        follow: bool = True,
        patience_s: float = 120.0,
        when_over: Callable[[], None] = lambda: None,
        ranks: RankFiles | None = None,
        session: int = 0,
        ask: bool = False,
    ) -> None:
        self.directory, self.name, self.tracked = directory, name, tracked
        self.alive, self.wait, self.follow, self.when_over = alive, wait, follow, when_over
        self.ranks, self.session, self.ask = ranks, session, ask
        self.needs_restart = self._is_open = False
        self.folder = directory.tracker(name)
        self.state = load_state(self.folder) or DeliveryState()
        self.metering = Metering(directory, name, self.state, covers=tracker.covers)
        self.attempt = Attempts(
            name,
            explain=lambda error: self.tracker.explain(error),
            alive=self._still_trains,
            wait=wait,
            follow=follow,
            patience_s=patience_s,
            save=self._save,
        )
        self.refusals = Refusals(name, self.state)
        self._take(tracker)
        tracked.ids.update(self.state.ids)
        tracked.save_ids = lambda ids: self._save(ids=dict(ids))

    # The whole of it

    def run(self) -> DeliveryState:
        """Deliver until the run has ended (without `follow`, until the journal's end); return the last state."""
        try:
            self._run()
        except OSError as error:  # of the run's own folder: a full disk. The next delivery finds out what has arrived
            log.exception("%s: the state in %s cannot be written", self.name, self.folder)
            self.state.phase, self.state.error = "suspended", str(error)
        return self.state

    def _run(self) -> None:
        state = self.state
        if self._has_nothing_to_do():
            return
        if 0 < journal_size(self.directory.journal) < state.cursor:  # its end is missing
            state.clean, state.sending = False, EVERYTHING
        if state.session < self.session:
            state.ending = state.ending_error = None  # of a session before this one
        self.tracked.resumed = state.attempts > 0 and bool(state.ids or state.url or state.cursor or state.sending)
        clean, known, unclean = state.clean, dict(state.ids), not state.clean or self.ask
        state.pid = os.getpid()
        self._save(phase="starting", clean=False, attempts=state.attempts + 1, error=None, traceback=None, status=None)
        try:
            self.attempt.keep_pause(state.not_before)
            for recreated in range(LIVES + 1):
                try:
                    self._carry(known, unclean=unclean)
                    break
                except GoneError:
                    if self.tracked.is_joined or recreated == LIVES:
                        raise
                    self._recreate()
                    unclean = True
        except GaveUp:
            self._save(phase="suspended")
        except RestartError as error:
            self.needs_restart = True
            self._save(phase="suspended", error=str(error), traceback=traceback.format_exc())
        except (FinalError, TrackerUnavailableError) as error:
            # What was sent may not have arrived. If nothing was sent, the state is as the previous process left it.
            said = {"error": str(error), "traceback": traceback.format_exc()}
            session, clean = max(self.state.session, self.session), clean and not self._is_open
            self._save(phase="refused", session=session, clean=clean, **said)

    def _has_nothing_to_do(self) -> bool:
        state = self.state
        is_taken_over = 0 < self.session < state.session  # by a newer session's delivery
        has_all = state.phase == "finished" and journal_size(self.directory.journal) <= state.cursor
        return not self.ask and (is_taken_over or (has_all and is_over(state, self.session)))

    def _still_trains(self) -> bool:
        return self.alive() and last_status(self.directory) is None

    def _carry(self, known: dict[str, str], *, unclean: bool) -> None:
        """Open the run, send what an earlier process may have lost, and deliver present and future records."""
        self.tracked.trains = not self.tracker.measures or (self.follow and self._still_trains())
        if not (self.tracked.online or self.tracked.is_joined) and is_at_server(self.name, self.tracked.url):
            raise FinalError(f"The run is on {self.tracked.url} and does not continue offline: the rest waits here")
        may_be_gone = self.tracked.resumed and self.tracked.url and not self.tracked.is_joined
        if may_be_gone and self.attempt("exists", lambda: self.tracker.exists(self.tracked)) is False:
            raise GoneError(f"{self.name} no longer has the run")
        self.attempt("setup", lambda: self.tracker.setup(self.tracked))
        self._is_open = True
        self.metering.begin()
        sending = EVERYTHING if self.tracked.found else self.state.sending
        self._save(phase="delivering", url=self.tracked.url, ids=dict(self.tracked.ids), sending=sending, error=None)
        if unclean or self.tracked.found or is_another_run(self.tracker, known, self.state.ids):
            self.transfer.recover()
        while self._follow():
            if self._finish():
                return
        self.attempt("leave", lambda: self.tracker.leave())
        self._save(phase="suspended")

    def _recreate(self) -> None:
        """Deliver to a new run from now on, because this one was deleted at the service."""
        log.warning("%s no longer has the run: it is recreated there", self.name)
        self.tracked.recreate(self.tracker.identities)
        self._take(type(self.tracker)())

    def _take(self, tracker: Tracker) -> None:
        """Deliver with this Tracker from now on."""
        self.tracker, self.tracked.variables = tracker, tracker.variables
        self.transfer = Transfer(
            self.directory,
            self.name,
            tracker,
            self.tracked,
            self.state,
            session=self.session,
            attempts=self.attempt,
            refusals=self.refusals,
            metering=self.metering,
            save=self._save,
        )

    def _follow(self) -> bool:
        """Deliver new records; return whether the run has ended."""
        while True:
            if self.ranks is not None:
                self.ranks.gather()
            moved = self.transfer.deliver_available()
            self._measure(final=False)
            if self.state.ending is None and not self.alive():
                moved = self.transfer.deliver_available() or moved
                if self.state.ending is None:
                    self.transfer.deliver_last_line()
                    self.metering.end(was_seen=self.follow)
                    self.transfer.note_position(ending="crashed")
            if self.state.ending is not None and (self.state.session >= self.session or not self.alive()):
                self.attempt.run_is_over()
                return True
            if not moved:
                if not self.follow or self.transfer.reader.is_superseded:
                    return False
                # The courier wakes a delivery for new records, but sees neither a meter nor another rank's.
                self.wait(SHORT_S if self.tracker.measures or self.ranks is not None else LONG_S)

    def _finish(self) -> bool:
        """Close the run; return whether it was closed: its session may have been resumed."""
        session = max(self.state.session, self.session)
        self.transfer.reader.last_session = session  # a newer session belongs to the next delivery
        self.when_over()
        if self.tracker.measures:
            self._measure(final=True)
            if self.tracker.covers:
                log.warning(
                    "%s %s of the training", self.name, self.state.coverage or "does not say how much it measured"
                )
        elif self.follow:
            wait_for_meters(self.directory, session, self.wait)
        if self.ranks is not None:
            wait_for_ranks(self.ranks, self.wait)
        self.transfer.deliver_available()
        if self.state.ending is None:
            return False
        ending = ending_of(self.directory, self.state, session, self.tracked.time)
        self.tracked.time = ending.ended_at
        self.transfer.records.supports("status", ["status"])
        self.attempt("finish", lambda: self.tracker.finish(ending))
        self._save(phase="finished", session=session, clean=True, status=ending.status, error=None, traceback=None)
        return True

    # Meters

    def _measure(self, *, final: bool) -> None:
        """Read a meter; its measurements go into the journal, and from there to every other tracker."""
        if not self.tracker.measures or not self.metering.is_due(final=final):
            return
        measured: dict[str, Number] = {}
        self.transfer.records.send_one("measure", lambda: measured.update(self.tracker.measure(final)), [self.name])
        if measured:
            self.metering.write(measured, time.time(), final=final)
            self._save(points=self.state.points + len(measured), sent=self.state.sent + len(measured))

    # State

    def _save(self, **changes: object) -> None:
        for name, value in changes.items():
            setattr(self.state, name, redact_text(value) if isinstance(value, str) and name in SAID else value)
        save_state(self.folder, self.state)
        if "ids" in changes:
            save_ids(self.folder, self.state)
