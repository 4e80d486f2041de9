"""Continuous delivery of the runs in a folder, while other machines write them: `runcast sync --watch`."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from runcast.core.errors import JournalError, OptionError, RuncastError
from runcast.delivery.courier.client import CourierProcess
from runcast.delivery.courier.messages import Task
from runcast.delivery.liveness import last_status
from runcast.delivery.trust import Decide
from runcast.history.delivering import Outcome
from runcast.history.finding import list_runs
from runcast.history.sync import orders_now
from runcast.journal.layout import RunDirectory
from runcast.journal.locks import FileLock
from runcast.journal.paths import shown
from runcast.journal.reader import journal_size
from runcast.journal.state import load_state

LOOK_S = 2.0  # between two looks at the folder
AGAIN_S = 60.0  # until another attempt for a run with a tracker that could not be reached or used
SILENT_S = 1800.0  # after which a run that neither ends nor grows is let go, until it grows
AT_ONCE = 8  # couriers, each with an SDK per tracker in memory
TURN_S = 120.0  # that a run keeps its courier at least, while another one waits for one

Tell = Callable[[str, Collection[Outcome]], None]


class _Turn(NamedTuple):
    courier: CourierProcess
    trackers: Collection[str]
    since: float


class Watcher:
    """The couriers of the runs in a folder: one for each run that is being written, or lacks something.

    When there are more such runs than couriers, they take turns.

    Args:
        root: The folder that holds the runs.
        decide: Decides how a tracker takes part.
        every: Whether to deliver runs that have ended already, too.
        offline: True: local modes only. False: online only. None: as chosen for each run.
        trust: Whether to trust runs that were begun elsewhere.
        tell: Called with a run's folder when its delivery begins, and with the outcomes of trackers that get nothing.
    """

    def __init__(
        self,
        root: Path,
        *,
        decide: Decide,
        tell: Tell,
        every: bool = False,
        offline: bool | None = None,
        trust: bool = False,
    ) -> None:
        self._root, self._decide, self._tell = root, decide, tell
        self._every, self._offline, self._trust = every, offline, trust
        self._turns: dict[Path, _Turn] = {}
        self._served: dict[Path, float] = {}  # when the last turn of each run began
        self._told: set[Path] = set()
        self._sizes: dict[Path, tuple[int, float]] = {}  # of each journal, and since when
        self._tried: dict[Path, tuple[int, float]] = {}  # the size at the last attempt, and when another one may follow

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Deliver until interrupted, or until the condition is true.

        Raises:
            OptionError: The folder is being watched already, or does not exist.
        """
        with self._alone():
            began = True
            try:
                while not until():
                    for directory in sorted(list_runs(self._root), key=lambda one: self._served.get(one.path, 0.0)):
                        with contextlib.suppress(JournalError, OSError):  # half written, or gone
                            self._look_at(directory, is_old=began and not self._every)
                    began = False
                    time.sleep(LOOK_S)
            finally:
                for turn in self._turns.values():
                    turn.courier.end()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            lock = FileLock(self._root / ".watch")
            is_mine = lock.take()
        except OSError as error:
            raise OptionError(
                f"{shown(self._root)} cannot be watched ({error.strerror}). Name another folder."
            ) from None
        if not is_mine:
            raise OptionError(f"{shown(self._root)} is being watched already, by another process on this machine.")
        try:
            yield
        finally:
            lock.release()

    def _look_at(self, directory: RunDirectory, *, is_old: bool) -> None:
        path, size, now = directory.path, journal_size(directory.journal), time.monotonic()
        if self._sizes.get(path, (-1, 0.0))[0] != size:
            self._sizes[path] = size, now
        if is_old and last_status(directory) is not None:
            self._tried[path] = size, float("inf")  # it had ended before the watch began
        if (turn := self._turns.get(path)) is not None:
            if not turn.courier.is_running():
                self._end_turn(path, now + AGAIN_S)
            elif now - self._sizes[path][1] > SILENT_S:
                turn.courier.end()
            return
        tried = self._tried.get(path)
        is_due = tried is None or tried[0] != size or now >= tried[1]
        if is_due and (len(self._turns) < AT_ONCE or self._make_room(now)):
            self._start(directory, size, now)

    def _make_room(self, now: float) -> bool:
        """End the longest turn of those that nobody needs at the moment; return whether there was one."""
        ready = [(turn.since, path) for path, turn in self._turns.items() if self._may_wait(path, turn, now)]
        if ready:
            self._end_turn(min(ready)[1], now)
        return bool(ready)

    def _may_wait(self, path: Path, turn: _Turn, now: float) -> bool:
        """Return whether a run has had its turn, and its trackers have, or cannot get, what it had at the last look."""
        states = (load_state(RunDirectory(path).tracker(name)) for name in turn.trackers)
        return now - turn.since > TURN_S and all(
            state is not None and (state.cursor >= self._sizes[path][0] or state.phase in ("retrying", "refused"))
            for state in states
        )

    def _end_turn(self, path: Path, again_at: float) -> None:
        self._turns.pop(path).courier.end()
        self._tried[path] = self._sizes[path][0], again_at

    def _start(self, directory: RunDirectory, size: int, now: float) -> None:
        path = directory.path
        self._tried[path] = size, now + AGAIN_S
        try:
            settled, orders = orders_now(directory, decide=self._decide, offline=self._offline, trust=self._trust)
        except RuncastError:
            return
        left = [one for one in settled.values() if not one.is_right]
        if not orders and not left:
            self._tried[path] = size, float("inf")  # everything is there, until the journal grows
            return
        if path not in self._told:
            self._told.add(path)
            self._tell(shown(path), left)
        if orders:
            courier = CourierProcess(directory, Task(orders=orders, mode="watch"), with_us=True)
            self._turns[path], self._served[path] = _Turn(courier, [*orders], now), now
            courier.start()
