"""The few lines that a run prints, all on standard error; `RUNCAST_QUIET=1` keeps all but the warnings back."""

import contextlib
import os
import sys


def say(message: str) -> None:
    """Tell the user something worth knowing."""
    if os.environ.get("RUNCAST_QUIET", "").lower() not in ("1", "on", "yes", "true"):
        _print(message)


def warn(message: str) -> None:
    """Tell the user what happened, why it matters and what to do; also through `logging`, for who listens there."""
    logging = sys.modules.get("logging")  # a script that has not imported it listens to nothing
    if logging is not None and (log := logging.getLogger("runcast")).hasHandlers():
        log.warning(message)
    else:
        _print(message)


def _print(message: str) -> None:
    with contextlib.suppress(
        OSError, ValueError, AttributeError
    ):  # stderr is closed or missing (a detached job): there is nobody to tell
        print(f"runcast: {message}", file=sys.stderr, flush=True)
