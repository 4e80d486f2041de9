"""Continuous delivery of the runs in a folder, while other machines write them: `runcast sync --watch`."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

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

LOOK_S = 2.0  # between two looks at the folder
AGAIN_S = 60.0  # until another attempt for a run with a tracker that could not be reached or used
SILENT_S = 1800.0  # after which a run that neither ends nor grows is let go, until it grows
AT_ONCE = 8  # couriers, each with an SDK per tracker in memory

Tell = Callable[[str, Collection[Outcome]], None]


class Watcher:
    """The couriers of the runs in a folder: one for each run that is being written, or lacks something.

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
        self._couriers: dict[Path, CourierProcess] = {}
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
                    for directory in list_runs(self._root):
                        with contextlib.suppress(JournalError, OSError):  # half written, or gone
                            self._look_at(directory, is_old=began and not self._every)
                    began = False
                    time.sleep(LOOK_S)
            finally:
                for courier in self._couriers.values():
                    courier.end()

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
        courier = self._couriers.get(path)
        if courier is not None:
            if not courier.is_running():
                courier.end()
                del self._couriers[path]
                self._tried[path] = size, now + AGAIN_S
            elif now - self._sizes[path][1] > SILENT_S:
                courier.end()
        elif len(self._couriers) < AT_ONCE:
            tried = self._tried.get(path)
            if tried is None or tried[0] != size or now >= tried[1]:
                self._start(directory, size, now)

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
            self._couriers[path] = courier = CourierProcess(directory, Task(orders=orders, mode="watch"), with_us=True)
            courier.start()
