"""The few lines that a run prints, all on standard error; `RUNCAST_QUIET=1` leaves only the warnings."""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from runcast.core.foreign import attempt
from runcast.redaction.tree import redact_text


def say(message: str) -> None:
    """Print a message to the user."""
    if not is_quiet():
        _print(message)


def is_quiet() -> bool:
    """Return whether the user wants to see warnings only."""
    return os.environ.get("RUNCAST_QUIET", "").lower() in ("1", "on", "yes", "true")


def warn(message: str) -> None:
    """Print a warning (what happened, why it matters, what to do), and send it to `logging` as well."""
    logging = sys.modules.get("logging")  # a script that has not imported it has no handlers
    if logging is not None and (log := logging.getLogger("runcast")).hasHandlers():
        attempt(lambda: log.warning(redact_text(message)), lambda _: None)  # the script's own handlers may raise
    else:
        _print(message)


def keep_standard_descriptors() -> None:
    """Open the null device in place of a closed standard stream, as left by daemons and `2>&-`.

    Otherwise a file of ours would get its descriptor, and receive everything written to that stream.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor


def _print(message: str) -> None:
    if sys.stderr is None:  # `2>&-`; print would take standard output
        return
    text = f"runcast: {redact_text(message)}"
    encoding = attempt(lambda: str(sys.stderr.encoding or "utf-8"), lambda _: "utf-8")
    # The stream may be closed, missing or of the script's own class; characters that it cannot encode are escaped.
    attempt(
        lambda: print(text.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr, flush=True),
        lambda _: None,
    )


class Redacting:
    """A text stream that redacts what it writes, because SDKs print their settings and the output ends in a log."""

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
