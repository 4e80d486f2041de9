"""How a run ends, and what is said of it then."""

# Not imported when it is needed: at exit, an import may call exec(), which makes Python forget that an interrupt ended
# the script, and its exit code changes.
import sys
from collections.abc import Mapping
from pathlib import Path

from runcast.journal.paths import shown
from runcast.journal.records import Status
from runcast.journal.state import DeliveryState, is_over
from runcast.journal.status import status_of
from runcast.redaction.console import say, warn


class Watch:
    """How a training ends whose trainer has no event for an exception: by the errors that come up meanwhile.

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
