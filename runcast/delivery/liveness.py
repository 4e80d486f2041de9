"""Whether a run's training process is still there, and how the run stands."""

import os
from typing import Literal, TypeAlias

import msgspec
import psutil

from runcast.core.layout import RunDirectory, RunFile, process_began
from runcast.core.records import Finish, Start, Status, decode

TAIL_BYTES = 256 * 1024  # the end of a run is in its journal's last records; only a meter may write behind it

RunStatus: TypeAlias = Status | Literal["running", "unknown"]


def is_visible(file: RunFile) -> bool:
    """Tell whether the run's training is, or was, on this machine, where its process can be seen."""
    return file.host == os.uname().nodename and bool(file.pid)


def is_training(file: RunFile) -> bool:
    """Tell whether the process that opened the run's last session lives on this machine.

    Its number may have gone to a younger process since.
    """
    if not is_visible(file):
        return False
    if file.pid_began:
        return process_began(file.pid) == file.pid_began
    try:
        process = psutil.Process(file.pid)
        return bool(process.create_time() <= file.started + 1.0 and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def run_status(directory: RunDirectory, file: RunFile) -> RunStatus:
    """Say how a run stands: as it ended, or without an end as what its training process is.

    That is "running" or "crashed", or "unknown" if it is on a machine that cannot be seen from here.
    """
    end = last_status(directory)
    if end is not None:
        return end
    if not is_visible(file):
        return "unknown"
    return "running" if is_training(file) else "crashed"


def last_status(directory: RunDirectory) -> Status | None:
    """Return the status with which the journal ends, or None if its last session has no end."""
    try:
        with open(directory.journal, "rb") as journal:
            journal.seek(max(0, os.fstat(journal.fileno()).st_size - TAIL_BYTES))
            lines = journal.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines):
        try:
            record = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if isinstance(record, Finish):
            return record.status
        if isinstance(record, Start):
            return None
    return None
