"""What a delivery may do for a run: a run.json that somebody else wrote chooses neither code nor places.

A tracker of the table, or one that is installed, is found by its name alone. A class of the user's own, options that
are more than labels, and what a delivery elsewhere left behind are used only in a run that this user began
(`journal/seal.py`) or trusts.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from runcast.core.errors import TrackerUnavailableError, UnknownTrackerError
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import absolute, shown
from runcast.redaction.tree import REDACTED

# Decides how a tracker takes part here and now, given its name and whether offline was asked for:
# `runcast.autodetect.decide`. An argument, as this folder knows nothing of autodetection.
Decide: TypeAlias = Callable[[str, bool | None], TrackerChoice]

# Options in `setup` that only describe the run: they lead nowhere, and hold nothing that a tracker needs to log in.
LABELS = frozenset(
    (
        *("project", "project_name", "experiment_name", "workspace", "entity", "group", "job_type", "tags", "notes"),
        *("name", "run_name", "task_name", "exp_name", "exp_message", "description", "config"),
    )
)

LEFT_BEHIND = frozenset(("delivery.log", "lock"))  # by a delivery that never got anywhere


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery process is to import, and with which variables and options.

    Comes over its standard input, as nobody else sees that. An empty `path` is that of a fresh interpreter; `from_here`
    adds the working directory to it, for a class of the user's own. With `ask`, the tracker is asked what it has, and
    what it lacks is sent again.
    `here` is the working directory with which relative paths in options and variables were meant; empty is the present
    one.
    """

    tracker: str = ""
    environment: dict[str, str] = {}
    options: dict[str, Any] = {}
    path: list[str] = []
    from_here: bool = False
    ask: bool = False
    here: str = ""


def orders_for_training(choice: TrackerChoice, options: Mapping[str, Any]) -> Orders:
    """Give the orders of the script that begins the run: all of it is the user's own."""
    path = [str(absolute(each)) if isinstance(each, str) else each for each in sys.path]
    here = str(absolute("."))
    return Orders(tracker=choice.tracker, environment=choice.environment, options=dict(options), path=path, here=here)


def orders_for(
    directory: RunDirectory,
    file: RunFile,
    name: str,
    *,
    own: bool,
    decide: Decide | None = None,
    classes: Mapping[str, str] | None = None,
) -> Orders:
    """Give the orders for a run that lies on disk.

    Args:
        directory: The run's folder.
        file: What run.json holds.
        name: The tracker.
        own: Whether this user began the run, or trusts it.
        decide: Finds trackers that are installed beside those of the table.
        classes: The user's own tracker classes, as "module:Class" by name, named here and now.

    Raises:
        TrackerUnavailableError: The run came from elsewhere, and delivering it would mean to trust it.
    """
    choice = file.trackers[name]
    given = (classes or {}).get(name)
    if not own and (brought := _brought(directory, choice, name)):
        raise TrackerUnavailableError(
            f"this run was begun elsewhere and brings {brought}. If you trust where it comes from: "
            f"runcast sync {shown(directory.path)} --trust"
        )
    options = _whole(choice.options)
    if given is not None:
        return Orders(tracker=given, options=options, from_here=True)
    row = TABLE.get(name)
    if row is not None:
        environment = {**row.environment, **({} if choice.online else row.offline_environment)}
        return Orders(tracker=row.tracker, environment=environment, options=options)
    try:
        found = decide(name, None) if decide is not None else None
    except (UnknownTrackerError, TrackerUnavailableError):  # not here, or not now
        found = None
    if found is not None:
        return Orders(tracker=found.tracker, environment=found.environment, options=options)
    if own:
        return Orders(tracker=choice.tracker, environment=choice.environment, options=options, from_here=True)
    raise TrackerUnavailableError(
        f"{name} is no tracker that is installed here, but a class named in the run, {choice.tracker[:100]}. Name it "
        f"yourself: runcast sync {shown(directory.path)} --class {name}=module:Class"
    )


def _brought(directory: RunDirectory, choice: TrackerChoice, name: str) -> str:
    """Return what a run from elsewhere would have us use; empty if there is nothing."""
    options = sorted(key for key, value in choice.options.items() if key not in LABELS or not _is_label(value))
    if options:
        return f"its own options for {name} ({', '.join(options)[:200]})"
    folder = directory.tracker(name)
    if folder.is_dir() and any(entry.name not in LEFT_BEHIND for entry in folder.iterdir()):
        return f"what a delivery to {name} left there"
    return ""


def _is_label(value: Any) -> bool:
    if isinstance(value, list | dict):
        return all(map(_is_label, value.values() if isinstance(value, dict) else value))
    return value is None or isinstance(value, str | int | float | bool)


def _whole(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was redacted: a tracker that is told nothing looks for its secrets where they are now."""
    return {key: value for key, value in options.items() if REDACTED not in str(value)}
