"""What a run takes on the disk, what of it lies elsewhere, and its removal."""

import os
import shutil
from pathlib import Path

import msgspec

from runcast.core.errors import JournalError
from runcast.delivery.addresses import place
from runcast.delivery.liveness import run_status
from runcast.delivery.lock import is_held
from runcast.history.finding import list_runs
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import argument, shown
from runcast.journal.state import load_state, waiting_for


class RunSize(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a run's folder in bytes, and that of its parts."""

    id: str
    name: str
    path: str
    journal: int
    media: int
    artifacts: int
    trackers: int
    total: int


class Remains(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a run when its folder is removed, by tracker; and how many points no tracker has yet."""

    id: str
    name: str
    path: str
    elsewhere: dict[str, str]
    undelivered: dict[str, int]


def sizes(root: Path) -> list[RunSize]:
    """Return the sizes of the runs in a folder, the largest last."""
    return sorted(map(_size, list_runs(root)), key=lambda one: one.total)


def _size(directory: RunDirectory) -> RunSize:
    try:
        name = directory.load().name
    except JournalError:
        name = ""
    parts = {part: _bytes_in(directory.path / part) for part in ("media", "artifacts", "trackers")}
    journal = directory.journal.stat().st_size if directory.journal.is_file() else 0
    total = _bytes_in(directory.path)
    return RunSize(id=directory.path.name, name=name, path=shown(directory.path), journal=journal, total=total, **parts)


def _bytes_in(folder: Path) -> int:
    """Return the size of a folder's files; one with several names in it counts once."""
    seen: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                found = os.lstat(os.path.join(parent, name))
            except OSError:
                continue
            seen[found.st_dev, found.st_ino] = min(found.st_size, found.st_blocks * 512) or found.st_size
    return sum(seen.values())


def remains(directory: RunDirectory) -> Remains:
    """Find what stays when a run is removed.

    Raises:
        JournalError: The run is still training, or its folder is not a run.
    """
    file = directory.load()
    if run_status(directory, file) == "running":
        raise JournalError(f"The run {file.name} ({file.id}) is still training. End it first (process {file.pid}).")
    elsewhere, undelivered = {}, {}
    for name, choice in file.trackers.items():
        state = load_state(directory.tracker(name))
        where = place(directory, name, state)
        path = (where or "").removeprefix("sqlite:///")
        if where is not None and ("://" in path or not Path(path).resolve().is_relative_to(directory.path.resolve())):
            elsewhere[name] = where
        if not (choice.measures or choice.left):
            undelivered[name] = waiting_for(directory.journal, name, state.cursor if state else 0).points
    return Remains(
        id=file.id,
        name=file.name,
        path=shown(directory.path),
        elsewhere=elsewhere,
        undelivered={name: number for name, number in undelivered.items() if number},
    )


def remove(directory: RunDirectory) -> None:
    """Remove a run's folder, once its deliveries have let go of it.

    Raises:
        JournalError: It is not a run or a link to one, it is still training, or it is being delivered.
        OSError: It cannot be removed.
    """
    remains(directory)
    if directory.path.is_symlink():
        raise JournalError(f"{shown(directory.path)} is a link. Name the run itself: {shown(directory.path.resolve())}")
    for tracker in directory.load().trackers:
        if is_held(directory.tracker(tracker)):
            raise JournalError(
                f"The run {directory.path.name} is being delivered to {tracker}. Wait for it, with: "
                f"runcast sync {argument(directory.path)}"
            )
    shutil.rmtree(directory.path)
