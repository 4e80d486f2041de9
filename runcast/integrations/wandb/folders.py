"""Where W&B keeps the files of a run: in the run's own folder, or where the user has said."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runcast.integrations.contract import TrackedRun


def root_of(run: TrackedRun) -> str:
    """Return the folder in which W&B makes its own: a run stays where it began, wherever WANDB_DIR points now."""
    begun = run.ids.get("folder")
    if begun and os.path.isdir(begun):
        return os.path.dirname(begun)
    return str(run.local if begun == "" else run.setting("dir") or run.local)


def run_folder(opened: Any) -> Path:
    """Return the folder of this process's files of a run; `Run.dir` may be elsewhere (WANDB__FILES_DIR)."""
    return Path(opened.settings.sync_dir).absolute()


def folder_of(opened: Any, run: TrackedRun) -> str:
    """Name the folder of W&B's files; "" if it is the run's own, which may be moved."""
    folder = run_folder(opened).parent
    return "" if folder == run.local / "wandb" else str(folder)


@contextlib.contextmanager
def own_folders(run: TrackedRun) -> Iterator[None]:
    """Keep staged artifacts and caches with the run: W&B takes their folders from the environment, else the home."""
    ours = {"WANDB_DATA_DIR": str(run.local / "data"), "WANDB_CACHE_DIR": str(run.local / "cache")}
    added = [variable for variable in ours if variable not in os.environ]
    os.environ.update({variable: ours[variable] for variable in added})
    try:
        yield
    finally:
        for variable in added:
            del os.environ[variable]
