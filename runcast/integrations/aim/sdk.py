"""Repositories of Aim, and what goes wrong with them; read in aim 3.29.1, 2026-11-30."""

import hashlib
import os
from pathlib import Path
from typing import Any

from aim.sdk.configs import get_aim_repo_name
from aim.sdk.errors import RepoIntegrityError, RunLockingError
from aim.sdk.repo import Repo, RepoStatus
from aimrocks.errors import RocksIOError
from filelock import FileLock, Timeout
from sqlalchemy.exc import OperationalError

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun

RETRYABLE = (OperationalError, RepoIntegrityError, RocksIOError, RunLockingError, Timeout)


def place(run: TrackedRun) -> str:
    """Return the folder of the repository: the one where the run began, else the user's, else one beside the runs."""
    chosen = str(run.ids.get("folder") or run.options.get("repo") or run.directory.parent / "aim")
    if "://" in chosen:
        raise FinalError(f"runcast writes to repositories of Aim on this machine, not to {chosen}.")
    return os.path.abspath(os.path.expanduser(chosen))


def run_hash(run: TrackedRun) -> str:
    """Return Aim's identifier of a run: it is known before the run is created, so a killed setup leaves one run."""
    return run.ids.get("hash") or hashlib.sha256(f"{run.id} {run.created} {run.generation}".encode()).hexdigest()[:24]


def repository(folder: str) -> Any:
    """Open the repository of a folder, and create it if there is none."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with FileLock(os.path.join(folder, ".runcast.lock"), timeout=60):  # Aim's own creation is not made for two at once
        is_ready = Repo.check_repo_status(folder) is RepoStatus.UPDATED
        return Repo.from_path(folder, init=not is_ready)


def has_run(folder: str, name: str) -> bool:
    """Return whether the run's own database is in the repository of a folder."""
    return os.path.exists(os.path.join(folder, get_aim_repo_name(), "meta", "chunks", name, "CURRENT"))
