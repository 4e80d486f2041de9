"""A run that another process holds open, as a process spawned by that one has it.

A forked process inherits the run; a spawned one has only what was pickled for it.
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
    """Which session of which run its owner holds open."""

    path: str
    session: int
    pid: int


class BorrowedRun(Run):
    """The run of another process: what is logged goes to its journal; its owner delivers and finishes it."""

    owned_here: ClassVar["WeakValueDictionary[str, Run]"] = WeakValueDictionary()

    def __init__(self, file: RunFile, directory: RunDirectory) -> None:
        super().__init__(file, directory, Journal(directory.journal), None)

    def finish(self, status: Status = "finished", timeout_s: float | None = None, error: str | None = None) -> bool:
        """Write the device values that are still on their way; the run goes on, so it is not delivered yet."""
        self._collect_copies(time.monotonic() + finish_timeout_s(timeout_s))
        return False


def share(run: Run) -> str:
    """Let copies of an adapter in this process find its open run; return the run's folder, by which they ask."""
    folder = str(run.dir.absolute())
    BorrowedRun.owned_here[folder] = run
    return folder


def lend(run: Run) -> Loan:
    """Describe an open run for another process."""
    return Loan(path=share(run), session=run._file.session, pid=run._file.pid)


def find_open(folder: str) -> Run | None:
    """Return the run of a folder if an adapter of this process holds it open."""
    run = BorrowedRun.owned_here.get(folder)
    return run if run is not None and run.status is None else None


def borrow(loan: Loan | None) -> Run | None:
    """Join the run, or return None if its owner has finished it or is gone, or if the first rank reports."""
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
