"""The few lines that a run prints, all on standard error; `RUNCAST_QUIET=1` keeps all but the warnings back."""

import contextlib
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from runcast.core.redaction import redact_text


def say(message: str) -> None:
    """Tell the user something worth knowing."""
    if os.environ.get("RUNCAST_QUIET", "").lower() not in ("1", "on", "yes", "true"):
        _print(message)


def warn(message: str) -> None:
    """Tell the user what happened, why it matters and what to do; also through `logging`, for who listens there."""
    logging = sys.modules.get("logging")  # a script that has not imported it listens to nothing
    if logging is not None and (log := logging.getLogger("runcast")).hasHandlers():
        log.warning(redact_text(message))
    else:
        _print(message)


def _print(message: str) -> None:
    with contextlib.suppress(
        OSError, ValueError, AttributeError
    ):  # stderr is closed or missing (a detached job): there is nobody to tell
        print(f"runcast: {redact_text(message)}", file=sys.stderr, flush=True)


class Redacting:
    """Is a text stream that writes no secret, whoever speaks: what an SDK says of its own settings ends in a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        return self._stream.write(redact_text(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
