"""Reading of settings: names of options, and numbers of seconds."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from runcast.core.errors import OptionError

# Other loggers' names for these options, so that the error can suggest ours.
_ALSO_CALLED = {
    **dict.fromkeys(("save_dir", "log_dir", "logdir", "logging_dir", "root_dir", "output_dir"), "dir"),
    **dict.fromkeys(("version", "run_id", "experiment_key"), "id"),
    **dict.fromkeys(("run_name", "task_name", "exp_name", "display_name"), "name"),
    **dict.fromkeys(("project_name", "experiment_name", "experiment"), "project"),
    **dict.fromkeys(("hparams", "params"), "config"),
    **dict.fromkeys(("mode", "online"), "offline"),
    **dict.fromkeys(("description", "comment"), "notes"),
}


def check_names(options: Iterable[str], valid: Iterable[str], of: str = "") -> None:
    """Raise if an option's name is not valid.

    Raises:
        OptionError: A name is unknown; the message suggests the closest option.
    """
    known = list(valid)
    for name in options:
        if name not in known:
            import difflib  # rarely needed, and start-up counts

            meant = _ALSO_CALLED.get(name)
            if meant not in known:
                meant = next(iter(difflib.get_close_matches(name, known, 1)), None)
            hint = f"Did you mean {meant!r}? " if meant in known else ""
            raise OptionError(f"There is no option {name!r}{of}. {hint}The options are: {', '.join(known)}.")


def seconds(name: str, default: float, environ: Mapping[str, str] = os.environ) -> float:
    """Read a number of seconds from an environment variable."""
    text = environ.get(name)
    return as_seconds(name, text) if text else default


def as_seconds(name: str, value: Any) -> float:
    """Read a number of seconds given under a name.

    Raises:
        OptionError: It is not one.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isnan(number):
        raise OptionError(f"{name}={value!r} is not a number of seconds.")
    return number
