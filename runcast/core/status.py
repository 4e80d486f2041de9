"""How a run ends, and what is said of it then."""

# Not imported when it is needed: at exit, an import may call exec(), which makes Python forget that an interrupt ended
# the script, and its exit code changes.
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from runcast.core.console import say, warn
from runcast.core.foreign import attempt, described
from runcast.core.layout import shown
from runcast.core.records import Status
from runcast.core.state import DeliveryState, is_over

# How a script ends that takes a signal and leaves with sys.exit, as shells and launchers count.
TOLD_TO_GO = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def status_of(error: BaseException | None) -> tuple[Status, str | None]:
    """Say how a run ends that is left with *error*: the status, and the traceback as text."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    text = attempt(lambda: "".join(traceback.format_exception(type(error), error, error.__traceback__)), described)
    if isinstance(error, SystemExit):
        return status_of_code(error.code), text
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


def report_end(
    directory: Path, session: int, dropped: Mapping[str, int], lost: int, behind: Mapping[str, DeliveryState]
) -> None:
    """Tell the user what a run that has just ended lacks, and what the trackers that are behind still lack of it."""
    if dropped:
        count = sum(dropped.values())
        say(f"{count:,} {'value was' if count == 1 else 'values were'} dropped: {', '.join(sorted(dropped)[:5])}")
    if lost:
        warn(f"{lost} records could not be written to {directory} and are lost, as its disk was full for too long.")
    for name, state in behind.items():
        if not is_over(state, session):
            warn(
                f"{name} does not have everything yet ({state.error or state.phase}). It is safe in the journal; "
                f"deliver it with: runcast sync {shown(directory)}"
            )


def report_coverage(states: Mapping[str, DeliveryState]) -> None:
    """Tell the user how much of the training each meter has measured."""
    for name, state in states.items():
        if state.coverage is not None and state.phase == "finished":
            say(f"{name} {state.coverage} of the training")


def status_of_code(code: object) -> Status:
    """Say how a run ends whose script leaves with this exit code, or with a text in its place."""
    if code in (None, 0):
        return "finished"
    return "killed" if code in TOLD_TO_GO else "failed"
