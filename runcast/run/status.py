"""The end of a run: its status, and what is printed about it."""

# Imported here, not on use: at exit, an import may call exec(), which makes Python forget that an interrupt ended the
# script, and changes the exit code.
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import argument, shown
from runcast.journal.records import Status
from runcast.journal.state import DeliveryState, is_over
from runcast.journal.status import status_of
from runcast.redaction.console import counted, say, warn
from runcast.run.ranks import rank


class Watch:
    """The status of a training whose trainer has no event for exceptions, judged by the errors that arise meanwhile.

    Create one when the training begins. It knows an uncaught error, even in a notebook, and one that is being handled
    at the time of the call. Of an error that the script has caught, it only knows that there was one.
    """

    def __init__(self) -> None:
        self._handled, self._last = sys.exc_info()[1], last_error()
        self._noted: tuple[Status, str | None] | None = None

    def handled(self) -> BaseException | None:
        """Return the error that is being handled, if it has arisen since the beginning."""
        error = sys.exc_info()[1]
        return None if error is self._handled else error

    def note(self) -> None:
        """Remember the status that the error being handled implies, in case the training never ends properly."""
        if (error := self.handled()) is not None:
            self._noted = status_of(error)  # not the error itself, which keeps the training's objects alive

    def ending(self) -> tuple[Status, str | None]:
        """Return the status and the traceback of a training that has begun and not ended."""
        last = last_error()
        error = self.handled() or (None if last is self._last else last)
        if error is None:
            return self._noted or ("failed", "The training ended with an exception that the script has caught.")
        return status_of(error)


def last_error() -> BaseException | None:
    """Return the last uncaught error."""
    return getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)


def report_status(is_over: str, directory: Path, dropped: Mapping[str, int]) -> None:
    """Print the last line of a run: how it ended, how many values it could not keep, and where to see more."""
    if dropped:
        keys = f"{', '.join(sorted(dropped)[:5])}{', …' if len(dropped) > 5 else ''}"
        is_over += f"; {counted(sum(dropped.values()), 'value was', 'values were')} dropped ({keys})"
    say(f"{is_over}; see it with: runcast show {argument(directory)}")


def why_unwritten(run_id: str, status: Status | None, *, is_copy: bool) -> str:
    """Return why a run takes no records, and what to do about it; empty where it is meant to take none."""
    if status is not None:
        return (
            f"was called on the run {run_id}, which is {status}. Start a new one, or resume this one with "
            f"init(id={run_id!r}, resume='allow')"
        )
    if is_copy and rank() == 0:
        return (
            f"was called on a copy of the run {run_id}, which writes nothing. Log in the process that began the run, "
            "or begin one here, in the same group"
        )
    return ""


def report_orphan(name: str, file: RunFile, directory: RunDirectory) -> None:
    """In a fork, such as a daemon, say that nobody delivers what it has logged since the process of the run ended."""
    if file.pid in (os.getpid(), os.getppid()):
        return
    from runcast.delivery.liveness import is_continued, is_training  # only now: see the remark about imports above

    if not is_training(file) and is_continued(directory):
        warn(
            f"the process that began the run {name} has ended, and a fork of it delivers nothing. Deliver what was "
            f"logged here with: runcast sync {argument(directory.path)}. Next time, call init after the fork."
        )


def find_again(journal: Journal, directory: RunDirectory, file: RunFile) -> bool:
    """Return whether a run's folder is where it began; report one that was moved, and write a deleted one again."""
    place, where = journal.place(), shown(directory.path)
    if place == "moved":
        warn(
            f"the folder {where} was moved while the run was going on, so the trackers lack its end. "
            "Deliver it from where it is now: runcast sync FOLDER"
        )
    elif place == "deleted":
        try:
            journal.restore()
            directory.save(file)
            again = f"runcast sync {argument(directory.path)}"
            rest = f"Its records are there again, without its files. Deliver them with: {again}"
        except OSError as error:
            rest = f"It cannot be written again ({error.strerror}): what the trackers lack is lost."
        warn(f"the folder {where} was deleted while the run was going on. {rest}")
    return place == "there"


def report_end(directory: Path, session: int, lost: int, behind: Mapping[str, DeliveryState]) -> None:
    """Report what a run that has just ended has lost, and what the trackers still lack."""
    if lost:
        warn(
            f"{lost} records could not be written to {directory} and are lost, because its disk was full for too long."
        )
    # What a newer session, of another process, has is not all: this one may have logged since.
    late = {name: state for name, state in behind.items() if state.session > session or not is_over(state, session)}
    if late:
        reasons = ", ".join(f"{name} ({state.error or state.phase})" for name, state in late.items())
        warn(
            f"{reasons} {'does' if len(late) == 1 else 'do'} not have everything yet. The rest is safe in the journal "
            f"and follows in the background; if it does not, deliver it with: runcast sync {argument(directory)}"
        )


def report_coverage(states: Mapping[str, DeliveryState]) -> None:
    """Report how much of the training each meter has measured."""
    for name, state in states.items():
        if state.coverage is not None and state.phase == "finished":
            say(f"{name} {state.coverage} of the training")
