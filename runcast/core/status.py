"""How a run ends."""

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
