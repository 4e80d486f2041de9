"""The status of a run, judged by an exception or an exit code."""

# Imported here, not on use: at exit, an import may call exec(), which makes Python forget that an interrupt ended the
# script, and changes the exit code.
import re
import signal
import traceback

from runcast.core.foreign import attempt, described
from runcast.journal.records import Status

STOPS = ("CancelledError", "Cancelled", "SIGTERMException")  # asyncio's, trio's, Lightning's
# The exit codes of scripts that handle a signal and call sys.exit, by the convention of shells and launchers.
TOLD_TO_GO = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def status_of(error: BaseException | None) -> tuple[Status, str | None]:
    """Return the status of a run that ends with *error*, and the traceback as text.

    A generator that its consumer has closed has finished; a task that was cancelled, as Ctrl-C does, was killed, and so
    was a trial that a study has pruned.
    """
    exit_of_script = error if isinstance(error, SystemExit) and not _is_stop(error) else None
    if error is None or isinstance(error, GeneratorExit) or (exit_of_script and exit_of_script.code in (None, 0)):
        return "finished", None
    text = attempt(lambda: "".join(traceback.format_exception(type(error), error, error.__traceback__)), described)
    if exit_of_script:
        return status_of_code(exit_of_script.code), text
    return ("killed" if _is_stop(error) else "failed"), text


def error_line(trace: str) -> str:
    """Return the line of a traceback that names its error: not the last one, as messages have many lines, and notes.

    Of a text without frames, it is the last line.
    """
    lines = [re.sub(r"^ *\| ?", "", line) for line in trace.strip().splitlines()]  # a group's are behind bars
    frames = [at for at, line in enumerate(lines) if line.lstrip().startswith('File "')]
    if frames:
        lines = [line for line in lines[frames[-1] + 1 :] if line and not line.startswith((" ", "+"))][:1] or lines
    return lines[-1] if lines else ""


def _is_stop(error: BaseException) -> bool:
    """Return whether an exception stops the script from outside; asyncio and trio raise it as theirs, or in a group."""
    if isinstance(error, Exception):
        return type(error).__name__ == "TrialPruned"  # Optuna's: the study has stopped the trial
    parts = getattr(error, "exceptions", ())  # of a BaseExceptionGroup
    return isinstance(error, KeyboardInterrupt) or type(error).__name__ in STOPS or any(map(_is_stop, parts))


def status_of_code(code: object) -> Status:
    """Return the status of a run whose script exits with this code, or with a text instead of one."""
    if code in (None, 0):
        return "finished"
    return "killed" if code in TOLD_TO_GO else "failed"
