"""The run of the other ranks of a job under `per_rank`: their metrics, in a file per rank.

Several machines cannot append to one file without losing lines, so each rank has its own. The deliveries, which run on
rank 0's machine, copy it into the journal (`delivery/ranks.py`). The ranks never communicate or wait for each other.
"""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile, rank_journals, valid_job
from runcast.journal.paths import make_private
from runcast.journal.records import VERSION, Start, Status, encode_line
from runcast.run.identity import Identity
from runcast.run.ranks import other_node
from runcast.run.run import Run


class RankRun(Run):
    """The metrics of one rank, kept for the run of rank 0, which logs everything else."""

    def __init__(self, file: RunFile, folder: Path, rank: int) -> None:
        self._meter: Any = None
        super().__init__(file, RunDirectory(folder), _open(file, folder, rank), None)

    def sample_node(self, every_s: Any) -> None:
        """Sample this node, if it is for this rank to do."""
        if (node := other_node()) and self._journal is not None:
            from runcast.integrations.system.node import NodeMeter  # rarely needed, and start-up counts

            self._meter = NodeMeter(self._journal, node, every_s, lambda: self.step)

    def finish(
        self,
        status: Status | int = "finished",
        timeout_s: float | None = None,
        error: str | None = None,
        *,
        exit_code: int | None = None,
    ) -> bool:
        """End the metrics of this rank."""
        if self._meter is not None:
            self._meter.end()
        return super().finish(status, timeout_s, error, exit_code=exit_code)

    def _log_params(self, params: dict[str, Any]) -> None:
        """Do nothing: rank 0 logs them."""

    def _log_summary(self, values: dict[str, Any]) -> None:
        """Do nothing: rank 0 logs it."""

    def _alert(self, title: Any, text: Any, level: Any) -> None:
        """Do nothing: rank 0 sends them."""

    def add_tags(self, *tags: str | Iterable[str]) -> None:
        """Do nothing: rank 0 adds them."""

    def identity(self) -> Identity | None:
        """Return None: rank 0 writes it."""
        return None

    def _keep(self, source: Path | bytes, name: str, kind: str) -> None:
        pass

    def _log_media(self, key: str, value: Any, step: int, now: float) -> bool:
        return True  # only rank 0 logs values that are not numbers


def id_of_rank(job: str, rank: int) -> str:
    """Return a rank's placeholder for the run id, which only rank 0 knows."""
    return f"{job.removeprefix('.')}-rank{rank}"


def is_id_of_rank(text: str) -> bool:
    """Return whether an id was made by `id_of_rank`."""
    job, _, rank = text.rpartition("-rank")
    return valid_job(f".{job}") and rank.isdecimal()


def _open(file: RunFile, folder: Path, rank: int) -> Journal:
    """Create a new file for this rank, not one of an earlier process, and hold its lock.

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
