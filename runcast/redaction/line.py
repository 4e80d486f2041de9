"""A line of the terminal that tells what is being waited for, and is written over as that changes."""

import os
import sys

from runcast.core.foreign import attempt
from runcast.redaction.console import is_quiet, say


class Line:
    """One line on standard error; where that is no terminal, its first text is printed once."""

    def __init__(self) -> None:
        self._is_terminal = attempt(lambda: os.isatty(sys.stderr.fileno()) and not is_quiet(), lambda _: False)
        self._text = ""

    def show(self, text: str) -> None:
        """Write the line, in place of its former text."""
        if self._is_terminal and text != self._text:
            import shutil  # rarely needed, and start-up counts

            width = shutil.get_terminal_size().columns - 1
            self._write("\r" + f"runcast: {text}"[:width] + "\x1b[K")
        elif not self._is_terminal and not self._text:
            say(text)
        self._text = text

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._is_terminal and self._text:
            self._write("\r\x1b[K")
        self._text = ""

    @staticmethod
    def _write(text: str) -> None:
        attempt(lambda: (sys.stderr.write(text), sys.stderr.flush()), lambda _: (0, None))
