"""The liveness of a run's training process, and the status of the run."""

import os
import time
from typing import Literal, TypeAlias, get_args

from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile, host_name, process_began
from runcast.journal.records import AnyRecord, Finish, Start, Status, encode, meter_of
from runcast.journal.tail import last_records

TAIL_BYTES = 256 * 1024  # the end of a run is in its last records; only a meter or another rank may write after it

RunStatus: TypeAlias = Status | Literal["running", "unknown"]
STATUSES: tuple[RunStatus, ...] = (*get_args(Status), "running", "unknown")


def is_visible(file: RunFile) -> bool:
    """Return whether the run's training is, or was, on this machine, where its process can be seen."""
    return file.host == host_name() and bool(file.pid)


def is_training(file: RunFile) -> bool:
    """Return whether the process that opened the run's last session lives on this machine.

    Its process id may have been reused since.
    """
    if not is_visible(file):
        return False
    if file.pid_began:
        return process_began(file.pid) == file.pid_began
    import psutil  # a run of an older version, or no /proc; imported late, because it takes 8 ms

    try:
        process = psutil.Process(file.pid)
        return bool(process.create_time() <= file.started + 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.ZombieProcess:
        return False
    except psutil.Error:  # there is no such process, or no /proc either, in a chroot or a sandbox
        return _exists(file.pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def run_status(directory: RunDirectory, file: RunFile) -> RunStatus:
    """Return the status with which a run ended, or the one that its training process implies.

    The latter is "running" or "crashed", or "unknown" on a machine that cannot be seen from here.
    """
    end = last_status(directory)
    if end is not None:
        return end
    if not is_visible(file):
        return "unknown"
    return "running" if is_training(file) else "crashed"


def last_status(directory: RunDirectory) -> Status | None:
    """Return the status with which the journal ends, or None if its last session has no end."""
    end = last_end(directory)
    return None if end is None else end.status


def last_end(directory: RunDirectory) -> Finish | None:
    """Return the record with which the journal ends, or None if its last session has no end."""
    for record in last_records(directory.journal, TAIL_BYTES):
        if isinstance(record, Finish):
            return record
        if isinstance(record, Start):
            return None
    return None


def is_continued(directory: RunDirectory) -> bool:
    """Return whether the training has written records after the last end of the run."""
    last = _last_of_training(directory)
    return last is not None and not isinstance(last, Finish)


def ended_at(directory: RunDirectory) -> float:
    """Return when a run ended: the time of its finish record, or else of the training's own last record."""
    last = _last_of_training(directory)
    return directory.load().created if last is None else last.time


def _last_of_training(directory: RunDirectory) -> AnyRecord | None:
    """Return the training's own last record: a meter also writes after the end of the training."""
    records = last_records(directory.journal, TAIL_BYTES)
    return next((record for record in records if meter_of(record) is None), None)


def end_run(
    directory: RunDirectory,
    status: Status,
    error: str | None = None,
    *,
    session: int | None = None,
    instead_of: Status | None = None,
    time_s: float | None = None,
) -> bool:
    """Write the end of a run into its journal, once, by whichever process knows it first.

    Args:
        directory: The run's folder.
        status: How it ended.
        error: A traceback as text, if it failed.
        session: The session that ended: if a newer one has begun, nothing is written. Default: the last one.
        time_s: When it ended, in seconds since the epoch; default: now.
        instead_of: The end that the journal must have now; default: none. Otherwise nothing is written.

    Returns:
        Whether this call has written it.
    """
    with directory.settled():
        is_old = session is not None and directory.load().session > session
        if is_old or last_status(directory) != instead_of:
            return False
        journal = Journal(directory.journal)
        journal.append(encode(Finish(time=time_s or time.time(), status=status, error=error)) + b"\n")
        journal.close()
        return True
