"""The way of records from a journal to one Tracker: what is there now, and what an interrupted delivery left out."""

import contextlib
import logging
from collections.abc import Callable

from runcast.delivery.attempts import Attempts
from runcast.delivery.metering import Metering
from runcast.delivery.recovery import journal_points, lacking_records
from runcast.delivery.sending.naming import MediaNames, ServiceNames
from runcast.delivery.sending.point_sender import BATCH_POINTS, PointSender
from runcast.delivery.sending.record_sender import RecordSender
from runcast.delivery.sending.refusals import Refusals
from runcast.integrations.contract import ALL_KINDS, Reading, TrackedRun, Tracker
from runcast.journal.file import append_lines
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader, journal_size
from runcast.journal.records import AnyRecord, Artifact, Finish, Media, Metrics, Start, meter_of, points
from runcast.journal.state import DeliveryState
from runcast.values.points import Point

log = logging.getLogger("runcast.delivery")


class Transfer:
    """The records of a journal on their way to one Tracker; the state says how far they are.

    Args:
        directory: The run's folder.
        name: The tracker's name.
        tracker: The Tracker that gets the records.
        tracked: The run as the Tracker knows it.
        state: The state of the delivery; `save` changes and writes it.
        session: The last session whose records are read; 0 for all.
        attempts: Makes the calls.
        refusals: Counts what the tracker rejects.
        metering: Follows how much a meter has measured.
        save: Changes the state and writes it.
    """

    def __init__(
        self,
        directory: RunDirectory,
        name: str,
        tracker: Tracker,
        tracked: TrackedRun,
        state: DeliveryState,
        *,
        session: int,
        attempts: Attempts,
        refusals: Refusals,
        metering: Metering,
        save: Callable[..., None],
    ) -> None:
        self.journal, self.name, self.tracker, self.tracked = directory.journal, name, tracker, tracked
        self.state, self.save, self.session = state, save, session
        self.attempts, self.refusals, self.metering = attempts, refusals, metering
        self.reader = self._read_from(state.cursor)
        self.names = ServiceNames(tracker, state.renamed)
        self.media_names = MediaNames(self.names, self.journal)
        self.sender = PointSender(tracker, tracked, self.journal, self.names, attempts, refusals.count)
        self.records = RecordSender(tracker, tracked, self.names, self.media_names, directory, attempts, refusals.count)

    def _read_from(self, offset: int) -> JournalReader:
        return JournalReader(self.journal, offset, self.session or None)

    def deliver_last_line(self) -> None:
        """Deliver what a training that died wrote last, if it lacks only the newline; else give it up, and count it."""
        is_whole = bool(self.reader.rest())
        with contextlib.suppress(OSError):  # the journal may only be read
            if is_whole:
                append_lines(self.journal, b"\n")
        self.deliver_available()
        self.reader.skip()

    def deliver_available(self) -> bool:
        """Deliver every complete record in the journal now; return whether there was any."""
        moved = False
        while records := self.reader.read():
            moved = True
            batch: list[Point] = []
            end = self.state.cursor
            for record, offset in records:
                if self.tracker.measures:
                    self.metering.see(record)
                if isinstance(record, Metrics):
                    if record.by != self.name and self.records.holds(record):
                        batch += points(record)
                    self.state.step = max(self.state.step, record.step)
                else:
                    self._send(batch, end)
                    batch, self.tracked.time = [], record.time
                    self._deliver(record, offset, offset)
                end = offset
                if len(batch) >= BATCH_POINTS:
                    self._send(batch, end)
                    batch = []
            self._send(batch, end)
            self.note_position()
        return moved

    def note_position(self, **changes: object) -> None:
        """Save how far the journal was read, and how many of its lines are damaged, with other changes."""
        damaged, self.reader.damaged = self.state.damaged + self.reader.damaged, 0
        self.save(cursor=self.reader.offset, damaged=damaged, **changes)

    def _send(self, batch: list[Point], end: int) -> None:
        if batch:
            self.save(sending=end)
            taken = self.sender.send(batch, end)
            self.save(cursor=end, points=self.state.points + taken, sent=self.state.sent + taken)

    def _deliver(self, record: AnyRecord, offset: int, end: int) -> None:
        """Deliver a record without points that ends at *offset*; then everything up to *end* is delivered."""
        if isinstance(record, Start):
            self.state.session = max(self.state.session, record.session)
            self.state.ending = self.state.ending_error = None
        elif isinstance(record, Finish):
            self.state.ending, self.state.ending_error = record.status, record.error
        elif meter_of(record) != self.name and self.records.holds(record):
            if isinstance(record, Media | Artifact):  # which must not simply be sent again
                self.save(sending=end)
            self.records.send(record, offset)
            self.save(cursor=end)

    def recover(self) -> None:
        """Deliver again what an earlier process claimed to have delivered and the tracker does not have."""
        end = max(self.state.cursor, self.state.sending)
        if end > journal_size(self.journal):  # its extent is unknown: check everything
            (reader := self._read_from(0)).read_all()
            end, self.state.damaged = reader.offset, reader.damaged
        self.refusals.forget("point", "params", "summary", "tags", *ALL_KINDS)  # sent again, and counted again
        if "metrics" in self.tracker.supports:
            again = self.sender.send_missing(end)
            log.warning("an earlier delivery of %s was interrupted; %d points were sent again", self.name, again)
            known = sum(1 for _ in journal_points(self.journal, end, without=self.name))
            self.state.points = known - self.sender.refused
            self.state.sent += again
        reading: Reading = self.attempts("read", lambda: self.tracker.read(self.tracked))
        self.refusals.forget_files(reading)
        names = self.names, self.media_names
        for record, offset in lacking_records(self.journal, end, reading, *names, self.tracker.supports):
            if not isinstance(record, Metrics):
                self.tracked.time = record.time
                self._deliver(record, offset, end)
            elif record.by != self.name:
                self.records.holds(record)
        self.reader = self._read_from(end)
        self.save(cursor=end, sending=end)
        if self.tracker.measures:
            self.deliver_available()  # to know how long the training has lasted
            found = self.metering.recover(reading, is_over=not self.tracked.trains)
            self.save(points=self.state.points + found, sent=self.state.sent + found)
