"""The run as the other ranks of a job have it under `per_rank`: their metrics, in a file of their own.

Several machines cannot append to one file without losing lines, so each rank has its own. The deliveries, which run
beside the first rank, copy it into the journal (`delivery/ranks.py`). No rank waits for another, or asks it anything.
"""

import contextlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile, rank_journals
from runcast.journal.paths import make_private
from runcast.journal.records import VERSION, Start, encode_line
from runcast.run.identity import Identity
from runcast.run.run import Run


class RankRun(Run):
    """The metrics of one rank, kept for the run of the first. Everything else of a run is that of the first rank."""

    def __init__(self, file: RunFile, folder: Path, rank: int) -> None:
        super().__init__(file, RunDirectory(folder), _open(file, folder, rank), None)

    def log_params(self, params: Mapping[str, Any] | Any) -> None:
        """Do nothing: the first rank logs them."""

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Do nothing: the first rank logs it."""

    def add_tags(self, *tags: str) -> None:
        """Do nothing: the first rank adds them."""

    def identity(self) -> Identity | None:
        """Return None: the first rank writes it."""
        return None

    def _keep(self, source: Path | bytes, name: str, kind: str) -> None:
        pass

    def _log_media(self, key: str, value: Any, step: int, now: float) -> bool:
        return True  # what is no number is with the first rank, or was refused there


def id_of_rank(job: str, rank: int) -> str:
    """Return what a rank calls the run whose id only the first rank knows."""
    return f"{job.removeprefix('.')}-rank{rank}"


def is_id_of_rank(text: str) -> bool:
    """Return whether an id was made by `id_of_rank`."""
    return re.fullmatch(r"job-[0-9a-f]{16}-rank\d+", text) is not None


def _open(file: RunFile, folder: Path, rank: int) -> Journal:
    """Make a file for this rank, which no earlier process of the same rank has written to, and hold its lock.

    Raises:
        OSError: The folder cannot be written.
    """
    make_private(folder)
    for path in rank_journals(folder, rank):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            break
    journal = Journal(path)
    journal.hold()
    journal.append(
        encode_line(Start(time=time.time(), version=VERSION, session=file.session, host=file.host, pid=file.pid))
    )
    return journal
