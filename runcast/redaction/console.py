"""The few lines that a run prints, all on standard error; `RUNCAST_QUIET=1` keeps all but the warnings back."""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from runcast.core.foreign import attempt
from runcast.redaction.tree import redact_text


def say(message: str) -> None:
    """Tell the user something worth knowing."""
    if os.environ.get("RUNCAST_QUIET", "").lower() not in ("1", "on", "yes", "true"):
        _print(message)


def warn(message: str) -> None:
    """Tell the user what happened, why it matters and what to do; also through `logging`, for who listens there."""
    logging = sys.modules.get("logging")  # a script that has not imported it listens to nothing
    if logging is not None and (log := logging.getLogger("runcast")).hasHandlers():
        attempt(lambda: log.warning(redact_text(message)), lambda _: None)  # a script's own handlers may raise
    else:
        _print(message)


def keep_standard_descriptors() -> None:
    """Open the null device in place of a standard stream that is closed, as daemons and `2>&-` leave it.

    A file of ours would get its number otherwise, and everything that is written to that stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _print(message: str) -> None:
    if sys.stderr is None:  # `2>&-`; print would take standard output
        return
    text = f"runcast: {redact_text(message)}"
    encoding = attempt(lambda: str(sys.stderr.encoding or "utf-8"), lambda _: "utf-8")
    # Closed, missing or of a script's own class: there may be nobody to tell, and what cannot be written is escaped.
    attempt(
        lambda: print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True),
        lambda _: None,
    )


class Redacting:
    """A text stream that writes no secret, whoever speaks: what an SDK says of its own settings ends in a log."""

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
