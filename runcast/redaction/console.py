"""The few lines that a run prints, all on standard error; `RUNCAST_QUIET=1` leaves only the warnings."""

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from runcast.core.foreign import attempt
from runcast.redaction.tree import redact_text

MAX_CHARS, TAIL_CHARS = 1200, 300  # of a message; its end has the command that helps
_COMMANDS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
LOOKALIKES = dict(zip("→…–·✓✗│─█▇▆▅▄▃▂▁\u2800", ">~--+x|-#@%*+=-_ ", strict=True))


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
    if logging is not None and (log := logging.getLogger("runcast")).hasHandlers() and not log.disabled:
        attempt(
            lambda: log.warning(_shortened(redact_text(message))), lambda _: None
        )  # the script's own handlers may raise
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


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 point", "12,000 points"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def visible(text: str) -> str:
    """Escape the characters of a name or a value that would command the terminal, such as colours, or turn its text."""
    return _COMMANDS.sub(lambda match: ascii(match[0])[1:-1], text)


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """Replace each character that a terminal cannot show by one that looks alike; escape the others.

    An error handler for `codecs.register_error`. The width of the text stays the same, so tables stay aligned.
    """
    assert isinstance(error, UnicodeEncodeError)
    part = error.object[error.start : error.end]
    alike = (
        LOOKALIKES.get(one)
        or ("*" if "\u2801" <= one <= "\u28ff" else one.encode("ascii", "backslashreplace").decode())
        for one in part
    )
    return "".join(alike), error.end


def _print(message: str) -> None:
    if sys.stderr is None:  # `2>&-`; print would take standard output
        return
    text = f"runcast: {_shortened(redact_text(message))}\n"
    encoding = attempt(lambda: str(sys.stderr.encoding or "utf-8"), lambda _: "utf-8")
    # The stream may be closed, missing or of the script's own class.
    attempt(lambda: print(_shown(text, encoding), file=sys.stderr, end="", flush=True), lambda _: None)


def _shown(text: str, encoding: str) -> str:
    """Return a text as a stream of this encoding can show it."""
    try:
        return text.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        alike = "".join(LOOKALIKES.get(one, one) for one in text)
        return alike.encode(encoding, "backslashreplace").decode(encoding)


def _shortened(message: str) -> str:
    """Cut the middle of a message that an SDK or a server has made too long to be read."""
    if len(message) <= MAX_CHARS:
        return message
    return f"{message[: MAX_CHARS - TAIL_CHARS]} … {message[-TAIL_CHARS:]}"


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
