"""How a run ends."""

import sys

# Not imported when it is needed: at exit, an import may call exec(), which makes Python forget that an interrupt ended
# the script, and its exit code changes.
import traceback

from runcast.core.records import Status


def status_of(error: BaseException | None) -> tuple[Status, str | None]:
    """Say how a run ends that is left with *error*: the status, and the traceback as text."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return ("killed" if isinstance(error, KeyboardInterrupt) else "failed"), text


class Watch:
    """Tells how a training ends whose trainer has no event for an exception: by the errors that come up meanwhile.

    Make one when the training begins. An error that nobody caught is known, also in a notebook, and so is one that is
    being handled when it is asked. Of one that the script has caught, only that there was one.
    """

    def __init__(self) -> None:
        self._handled, self._last = sys.exc_info()[1], _last_error()
        self._noted: tuple[Status, str | None] | None = None

    def handled(self) -> BaseException | None:
        """Return the error that is being handled, if it has come up since the beginning."""
        error = sys.exc_info()[1]
        return None if error is self._handled else error

    def note(self) -> None:
        """Remember what the error that is being handled makes of the training, in case it never ends."""
        if (error := self.handled()) is not None:
            self._noted = status_of(error)  # not the error itself, which holds all that the training had in memory

    def ending(self) -> tuple[Status, str | None]:
        """Return the status and the traceback of a training that has begun and not ended."""
        last = _last_error()
        error = self.handled() or (None if last is self._last else last)
        if error is None:
            return self._noted or ("failed", "The training was left by an exception that the script has caught.")
        return status_of(error)


def _last_error() -> BaseException | None:
    """Return the last error that nobody caught."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
