"""The state of the delivery to one tracker: a small file that the training process and the command line read.

It has one writer: the holder of the lock of the tracker's folder.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from runcast.core.errors import RuncastError
from runcast.journal.coverage import Coverage
from runcast.journal.paths import write_atomically
from runcast.journal.reader import JournalReader
from runcast.journal.records import UNREADABLE, Metrics, Status, read_struct

Phase = Literal["starting", "delivering", "retrying", "suspended", "finished", "refused", "unknown"]
STATE, IDS = "state.json", "ids.json"
EVERYTHING = 2**62  # an offset beyond the end of any journal


class DeliveryState(msgspec.Struct, kw_only=True):
    """The progress of the delivery to one tracker.

    `session` is the session of the last delivered Start record; in a state that is over (`is_over`) it is at least the
    session that the delivery was started for. `cursor` is the offset in the journal up to which everything was
    delivered. `sending` is the end offset of the batch that was being sent when the state was written. `clean` is false
    while a process has the tracker open, so that its sudden death is noticed. `points` counts the points that it has,
    `sent` those that were sent, also again after it had lost them, `refused` the values that it refused, by kind and
    reason, and `refused_names` names some of them. `ending` is the status that the journal announced, `status` the one
    passed to the tracker. `not_before` is the time until which the service has asked for no more calls. `coverage`
    belongs to a meter.
    """

    phase: Phase = "starting"
    session: int = 0
    cursor: int = 0
    sending: int = 0
    clean: bool = True
    points: int = 0
    sent: int = 0
    damaged: int = 0
    step: int = 0
    refused: dict[str, int] = {}
    refused_names: dict[str, list[str]] = {}
    renamed: dict[str, str] = {}
    ids: dict[str, str] = {}
    url: str | None = None
    ending: Status | None = None
    ending_error: str | None = None
    status: Status | None = None
    error: str | None = None
    traceback: str | None = None
    attempts: int = 0
    not_before: float = 0.0
    pid: int = 0
    version: str | None = None
    updated: float = 0.0
    coverage: Coverage | None = None


class KnownAs(msgspec.Struct, frozen=True, kw_only=True):
    """A tracker's own ids of the run, kept in a file apart from the state, so that one survives damage to the other."""

    ids: dict[str, str] = {}
    url: str | None = None


def load_state(folder: Path) -> DeliveryState | None:
    """Read a tracker's state; None if its delivery never ran.

    A damaged or unreadable state does not count as empty, but as that of an interrupted process that may have delivered
    everything. The next delivery asks the tracker.
    """
    try:
        state = msgspec.json.decode((folder / STATE).read_bytes(), type=DeliveryState)
    except (FileNotFoundError, NotADirectoryError):
        return _unknown(folder, "is missing") if (folder / IDS).exists() else None
    except OSError as error:
        return _unknown(folder, f"cannot be read ({error.strerror})")
    except UNREADABLE:
        return _unknown(folder, "is damaged")
    return _unknown(folder, "is damaged") if state.cursor < 0 or state == DeliveryState() else state


class StateFile:
    """A tracker's state on disk, read only when it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen, self._state = folder, (0, 0, 0), DeliveryState()

    def load(self) -> DeliveryState:
        """Return the last state of the delivery."""
        with contextlib.suppress(OSError):
            found = (self._folder / STATE).stat()
            seen = found.st_mtime_ns, found.st_ino, found.st_size  # timestamps may be milliseconds apart at best
            if seen != self._seen:
                self._state, self._seen = load_state(self._folder) or self._state, seen
        return self._state


def save_state(folder: Path, state: DeliveryState) -> None:
    """Write a tracker's state atomically."""
    state.updated = time.time()
    write_atomically(folder / STATE, msgspec.json.encode(state))


def save_ids(folder: Path, state: DeliveryState) -> None:
    """Write the tracker's own ids of the run."""
    write_atomically(folder / IDS, msgspec.json.encode(KnownAs(ids=state.ids, url=state.url)))


def _unknown(folder: Path, why: str) -> DeliveryState:
    known = read_struct(folder / IDS, KnownAs) or KnownAs()
    return DeliveryState(
        phase="unknown",
        clean=False,
        sending=EVERYTHING,
        attempts=1,
        ids=known.ids,
        url=known.url,
        error=f"{folder / STATE} {why}, so it is unknown what was delivered. The next delivery asks the "
        "tracker: runcast sync",
    )


def is_over(state: DeliveryState, session: int) -> bool:
    """Return whether a session has nothing left to deliver.

    It was closed or refused, or a newer session has begun and all of it was delivered.
    """
    return state.session > session or (state.session == session and state.phase in ("finished", "refused"))


class Waiting(msgspec.Struct, frozen=True):
    """What a journal holds for a tracker that has yet to receive it: the points, and the age of the oldest one."""

    points: int = 0
    lag_s: float = 0.0


def waiting_for(journal: Path, name: str, cursor: int) -> Waiting:
    """Return what waits for the tracker *name* after *cursor*; if the journal is gone, nothing does."""
    points, oldest = 0, time.time()
    with contextlib.suppress(FileNotFoundError):
        for record in JournalReader(journal, cursor):
            if isinstance(record, Metrics) and record.by != name:
                points, oldest = points + len(record.values), min(oldest, record.time)
    return Waiting(points, time.time() - oldest if points else 0.0)


class TrackerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """The points of one tracker; `waiting` ones are in the journal, the oldest of them for `lag_s` seconds.

    `refused` ones are counted by reason.
    """

    phase: Phase
    delivered: int
    waiting: int
    lag_s: float
    refused: dict[str, int]
    url: str | None
    error: str | None


def tracker_statistics(name: str, state: DeliveryState, journal: Path) -> TrackerStatistics:
    """Return the numbers of one delivery."""
    left = waiting_for(journal, name, state.cursor)
    return TrackerStatistics(
        phase=state.phase,
        delivered=state.points,
        waiting=left.points,
        lag_s=left.lag_s,
        refused=state.refused,
        url=state.url,
        error=state.error,
    )


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of this process; `dropped` maps a key to how many of its values could not be logged."""

    logged: int
    dropped: dict[str, int]
    lost: int
    trackers: dict[str, TrackerStatistics]


class Carrier(Protocol):
    """The interface that a Run needs from the delivery of its records.

    Nothing here waits, except `flush` and `finish`, up to their timeout.
    """

    def check(self) -> RuncastError | None:
        """Restart dead deliveries, report news to the user, and return the newest final failure of a tracker."""

    def states(self) -> Mapping[str, DeliveryState]:
        """Return the last state of each delivery."""

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker has the journal's first *size_bytes*; return whether it has.

        A refused tracker is not waited for.
        """

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait until every tracker has closed the session, whose records end in the journal's first *size_bytes*.

        Return whether each has all of it.
        """

    def await_exit_code(self) -> bool:
        """Have the exit code of this process awaited, which may correct the status; return whether that is possible."""

    def tell_exit_code(self) -> None:
        """Have the exit code of this process told to who awaits it."""

    def abandon(self) -> None:
        """Forget the children in a fork: they belong to the parent."""
