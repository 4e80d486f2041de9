"""How a run ends, in one word: of an exception, or of an exit code."""

# Not imported when it is needed: at exit, an import may call exec(), which makes Python forget that an interrupt ended
# the script, and its exit code changes.
import signal
import traceback

from runcast.core.foreign import attempt, described
from runcast.journal.records import Status

# How a script ends that takes a signal and leaves with sys.exit, as shells and launchers count.
TOLD_TO_GO = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def status_of(error: BaseException | None) -> tuple[Status, str | None]:
    """Return the status of a run that is left with *error*, and the traceback as text."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    text = attempt(lambda: "".join(traceback.format_exception(type(error), error, error.__traceback__)), described)
    if isinstance(error, SystemExit):
        return status_of_code(error.code), text
    return ("killed" if isinstance(error, KeyboardInterrupt) else "failed"), text


def status_of_code(code: object) -> Status:
    """Return the status of a run whose script exits with this code, or with a text in its place."""
    if code in (None, 0):
        return "finished"
    return "killed" if code in TOLD_TO_GO else "failed"
