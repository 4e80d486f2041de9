"""The run of a checkpoint: a small file in its folder names the run and its ids in every tracker.

The file only identifies the run. A resumed training writes where the user says, or into the folder of that run.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import JournalError
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import write_atomically
from runcast.journal.records import read_struct
from runcast.journal.state import DeliveryState
from runcast.redaction.console import warn
from runcast.run.options import Options

NAME = "runcast.json"


class TrackedAs(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a run in one tracker: its ids there, and its address."""

    ids: dict[str, str] = {}
    url: str | None = None


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a run in every tracker."""

    id: str
    name: str
    project: str
    session: int
    dir: str
    trackers: dict[str, TrackedAs] = {}


def identity_of(file: RunFile, directory: Path, states: Mapping[str, DeliveryState]) -> Identity:
    """Return a run's identity, as far as its trackers have opened it."""
    return Identity(
        id=file.id,
        name=file.name,
        project=file.project,
        session=file.session,
        dir=str(directory.absolute()),
        trackers={name: TrackedAs(ids=dict(state.ids), url=state.url) for name, state in states.items()},
    )


def write_identity(identity: Identity, folder: Path) -> None:
    """Write the file into a checkpoint's folder; if that fails, print a warning."""
    try:
        write_atomically(folder / NAME, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
    except OSError as error:
        warn(f"{folder / NAME} could not be written ({error.strerror}): the checkpoint does not name its run.")


def read_identity(folder: Path) -> Identity | None:
    """Read a checkpoint's file; None if it is missing or unreadable."""
    return read_struct(folder / NAME, Identity)


def resumed_run(run_id: str | None, checkpoint: Path | None, options: Options) -> tuple[str | None, Path | None]:
    """Find the run of a training that is resumed from a checkpoint.

    Args:
        run_id: The run's id, if the training itself remembers it.
        checkpoint: The folder of the checkpoint.
        options: The user's options.

    Returns:
        The run's id, None if nothing names a run; and the folder of runs that holds it, the user's or its old one, None
        if it is missing or must not be resumed.
    """
    identity = read_identity(checkpoint) if checkpoint is not None else None
    if identity is not None and run_id in (None, identity.id):
        run_id = identity.id
    if run_id is None or ("resume" in options.given and options.resume == "never"):
        return run_id, None
    places = (options.dir, Path(identity.dir).parent if identity is not None else options.dir)
    return run_id, next((place for place in places if _is_run(place / run_id, run_id)), None)


def _is_run(folder: Path, run_id: str) -> bool:
    """Return whether a folder holds this run and belongs to this user."""
    try:
        return folder.stat().st_uid == os.getuid() and RunDirectory(folder).load().id == run_id
    except (OSError, JournalError):
        return False


def checkpoint_folder(args: Any, state: Any) -> Path | None:
    """Find the checkpoint of this step, or the one that a training of transformers has resumed from."""
    step = Path(str(getattr(args, "output_dir", ""))) / f"checkpoint-{state.global_step}"
    given = getattr(args, "resume_from_checkpoint", None)
    for folder in (step, Path(given) if isinstance(given, str) else step):
        if folder.is_dir():
            return folder
    return None
