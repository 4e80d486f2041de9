"""The run of a parent process, as used by a process that the parent spawned.

A forked process inherits the run; a spawned one only has what was pickled for it.
"""

import time
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

import msgspec

from runcast.core.errors import JournalError
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.records import Status
from runcast.run.init import is_running
from runcast.run.options import finish_timeout_s
from runcast.run.ranks import rank
from runcast.run.run import Run


class Loan(msgspec.Struct, frozen=True):
    """The session of a run that its owner holds open."""

    path: str
    session: int
    pid: int


class BorrowedRun(Run):
    """The run of another process: logs to its journal, and leaves delivery and finishing to the owner."""

    owned_here: ClassVar["WeakValueDictionary[str, Run]"] = WeakValueDictionary()

    def __init__(self, file: RunFile, directory: RunDirectory) -> None:
        super().__init__(file, directory, Journal(directory.journal), None)

    def finish(
        self,
        status: Status | int = "finished",
        timeout_s: float | None = None,
        error: str | None = None,
        *,
        exit_code: int | None = None,
    ) -> bool:
        """Write the device values that are still on their way; the run stays open, so it is not delivered yet."""
        self._collect_copies(time.monotonic() + finish_timeout_s(timeout_s))
        return False


def share(run: Run) -> str:
    """Register an open run for copies of an adapter in this process; return the run's folder, the key to find it."""
    folder = str(run.dir.absolute())
    BorrowedRun.owned_here[folder] = run
    return folder


def lend(run: Run) -> Loan:
    """Describe an open run for another process."""
    return Loan(path=share(run), session=run._file.session, pid=run._file.pid)


def find_open(folder: str) -> Run | None:
    """Return a folder's run if an adapter of this process holds it open."""
    run = BorrowedRun.owned_here.get(folder)
    return run if run is not None and run.status is None else None


def borrow(loan: Loan | None) -> Run | None:
    """Join the run, or return None if its owner has finished it or died, or if rank 0 reports."""
    if loan is None or rank() != 0:
        return None
    if (run := find_open(loan.path)) is not None:
        return run
    directory = RunDirectory(Path(loan.path))
    try:
        file = directory.load()
        if (file.session, file.pid) == (loan.session, loan.pid) and is_running(directory, file):
            return BorrowedRun(file, directory)
    except (JournalError, OSError):
        pass  # the folder was moved or removed
    return None
