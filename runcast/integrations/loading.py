"""How a Tracker class is found by its name: the only place that imports the modules of this folder."""

import importlib
import os
import sys
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from runcast.core.errors import TrackerUnavailableError
from runcast.integrations.contract import Tracker

CROSSINGS, PAUSE_S = 20, 0.1  # how often an import may cross those of other threads, and how long it lets them go on


def load_tracker(target: str, environment: Mapping[str, str] | None = None) -> type[Tracker]:
    """Import a Tracker class from "module:Class", after setting what its SDK reads when it is imported.

    Raises:
        TrackerUnavailableError: Its SDK is not installed, or is installed but broken; the message says which.
    """
    for variable, value in (environment or {}).items():
        os.environ.setdefault(variable, value)
    module, _, name = target.partition(":")
    try:
        found: Any = _import(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        hides = sys.modules.get(str(error.name).partition(".")[0])
        if hides is not None and not hasattr(hides, "__path__"):
            raise TrackerUnavailableError(
                f"{hides.__file__} hides the package {hides.__name__}, which {target} needs. Rename that file."
            ) from error
        raise TrackerUnavailableError(f"{error.name} is not installed, {target} needs it.") from error
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise TrackerUnavailableError(
            f"{target} is installed but broken: importing it raised {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Tracker)):
        raise TrackerUnavailableError(f"{target} is not a runcast.Tracker.")
    return found


def _import(module: str) -> ModuleType:
    """Import a module, and again if another thread's import crosses it.

    While one thread imports `a`, which imports `a.b`, and another one `a.b`, for which `a` comes first, each waits for
    the other. Python fails one of the two; after that the way is free.
    """
    for _ in range(CROSSINGS):
        try:
            return importlib.import_module(module)
        except RuntimeError as error:
            if type(error).__name__ != "_DeadlockError":  # it has no public name
                raise
        time.sleep(PAUSE_S)
    return importlib.import_module(module)


def make_tracker(target: str, environment: Mapping[str, str] | None = None) -> Tracker:
    """Import a Tracker class and construct it.

    Raises:
        TrackerUnavailableError: It cannot be imported, or its constructor raised something.
    """
    tracker = load_tracker(target, environment)
    try:
        return tracker()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise TrackerUnavailableError(
            f"{target} cannot be constructed, it raised {type(error).__name__}: {error}"
        ) from error
