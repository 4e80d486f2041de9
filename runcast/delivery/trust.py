"""Trust: a run.json from elsewhere can choose neither code nor paths.

A tracker in the table, or an installed one, is found by its name alone. The user's own classes, options other than
labels, and the state of a delivery elsewhere are used only for a run that this user began (`journal/seal.py`) or
trusts.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from runcast.core.errors import TrackerUnavailableError, UnknownTrackerError
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import absolute, argument
from runcast.redaction.tree import REDACTED
from runcast.values.scalars import without_surrogates

# Decides how a tracker takes part here and now, given its name and whether offline was requested:
# `runcast.autodetect.decide`.
Decide: TypeAlias = Callable[[str, bool | None], TrackerChoice]

# Options in `setup` that only describe the run: no paths, addresses or credentials.
LABELS = frozenset(
    (
        *("project", "project_name", "experiment_name", "workspace", "entity", "group", "job_type", "tags", "notes"),
        *("name", "run_name", "task_name", "exp_name", "exp_message", "description", "config"),
    )
)

LEFT_BEHIND = frozenset(("delivery.log", "lock"))  # by a delivery that never succeeded


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The orders of a delivery process: what to import, and with which variables and options.

    They are sent over standard input, which no other process can read. An empty `path` is that of a fresh interpreter;
    `from_here` adds the working directory to it, for the user's own class. With `ask`, the tracker is asked what it
    has, and what it lacks is sent again. `here` is the working directory for relative paths in options and variables;
    empty means the present one.
    """

    tracker: str = ""
    environment: dict[str, str] = {}
    options: dict[str, Any] = {}
    path: list[str] = []
    from_here: bool = False
    ask: bool = False
    here: str = ""


OF_SCRIPT = (
    "{name} was given by the script, and no other process can make it. Put its class into a module, and name that: "
    "{command} --class {name}=module:Class"
)


def orders_for_training(
    chosen: Mapping[str, TrackerChoice], options: Mapping[str, Mapping[str, Any]]
) -> dict[str, Orders]:
    """Return the orders of the script that begins the run, by tracker: everything in them is the user's own.

    The script's own folder comes last in the path: it may hold a module of the user's, and a file named like an SDK or
    like something that an SDK imports.
    """
    here = _spelt(".")
    path = [_spelt(each) for each in sys.path if isinstance(each, str)]  # Python imports from nothing else
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if path and path[0] in (here, _spelt(Path(script).parent) if isinstance(script, str) else here):
        path.append(path.pop(0))
    return {
        name: Orders(
            tracker=choice.tracker,
            environment=choice.environment,
            options=dict(options[name]),
            path=path,
            here=here,
        )
        for name, choice in chosen.items()
    }


def _spelt(path: str | Path) -> str:
    """Return an absolute path as a delivery spells it, which uses UTF-8 whatever the locale of the script is."""
    return without_surrogates(os.fsencode(absolute(path)).decode("utf-8", "surrogateescape"))


def orders_for(
    directory: RunDirectory,
    file: RunFile,
    name: str,
    *,
    own: bool,
    decide: Decide | None = None,
    classes: Mapping[str, str] | None = None,
) -> Orders:
    """Return the orders for a run on disk.

    Args:
        directory: The run's folder.
        file: The content of run.json.
        name: The tracker.
        own: Whether this user began or trusts the run.
        decide: Finds trackers that are installed beside those of the table.
        classes: The user's own tracker classes, as "module:Class" by name, given on this command line.

    Raises:
        TrackerUnavailableError: The run came from elsewhere, and delivering it would require trust.
    """
    choice = file.trackers[name]
    given = (classes or {}).get(name)
    if not own and (brought := _brought(directory, choice, name)):
        raise TrackerUnavailableError(
            f"this run was begun elsewhere and brings {brought}. If you trust its source, run: runcast sync "
            f"{argument(directory.path)} --trust"
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
    except (UnknownTrackerError, TrackerUnavailableError):  # not available here and now
        found = None
    if found is not None:
        return Orders(tracker=found.tracker, environment=found.environment, options=options)
    if not choice.tracker:
        raise TrackerUnavailableError(OF_SCRIPT.format(name=name, command=f"runcast sync {argument(directory.path)}"))
    if own:
        return Orders(tracker=choice.tracker, environment=choice.environment, options=options, from_here=True)
    raise TrackerUnavailableError(
        f"{name} is not installed here; the run itself names a class for it, {choice.tracker[:100]}. To use "
        f"that class, name it yourself: runcast sync {argument(directory.path)} --class {name}=module:Class"
    )


def _brought(directory: RunDirectory, choice: TrackerChoice, name: str) -> str:
    """Return what a run from elsewhere asks us to use; empty if nothing."""
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
    """Leave out redacted options, so that a tracker looks for its credentials in the present environment."""
    return {key: value for key, value in options.items() if REDACTED not in str(value)}
