"""Every exception that runcast raises on purpose.

RuncastError
├── OptionError            a wrong argument or environment variable (also a ValueError)
│   └── UnknownTrackerError    a name in report_to that no integration has
├── TrackerUnavailableError    asked for by name, but not installed, too old, broken or not configured
├── CallbackError          a user's callback raised in a hook; the cause is its exception
├── CheckpointError        a checkpoint that is damaged, of another model, or not there
├── RankError              another process of the job failed, so this one cannot go on
├── JournalError           a run directory that cannot be read or is of another version
└── TrackerError           raised by a Tracker while it delivers
    ├── RetryableError         the same call may succeed later (network, 429, 5xx, locked database)
    ├── RestartError           the SDK of this process is of no use any more; a fresh process continues
    └── FinalError             the same call will never succeed (bad credentials, refused value)
        └── GoneError              the service no longer has the run: somebody deleted it
"""

from collections.abc import Iterable
from typing import Any


class RuncastError(Exception):
    """The base of every exception that runcast raises."""


class OptionError(RuncastError, ValueError):
    """An argument or an environment variable is wrong; the message says what it may be."""


class UnknownTrackerError(OptionError):
    """There is no such tracker; the message names the valid ones, and the one that was probably meant."""


class TrackerUnavailableError(RuncastError):
    """A tracker asked for by name cannot be used; the message holds the reason and the command that fixes it."""


class CallbackError(RuncastError):
    """A callback raised; the message names it and its hook, and `__cause__` is what it raised."""


class CheckpointError(RuncastError):
    """A checkpoint cannot be used; the message names the file and what to do about it."""


class RankError(RuncastError):
    """Another process of the job failed: which one, and why."""


class JournalError(RuncastError):
    """A run's folder cannot be used; the message names the file and what to do about it."""


class TrackerError(RuncastError):
    """An error of a Tracker; the delivery decides what becomes of the record."""


class RetryableError(TrackerError):
    """The same call may succeed later; `retry_after_s` is the service's own wish, if it gave one."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RestartError(TrackerError):
    """Only a fresh process can continue: the delivery ends, and another one asks what has arrived."""


class FinalError(TrackerError):
    """A call that will never succeed: what it was about is counted as refused, and the rest goes on.

    Args:
        message: What happened, and what to do about it.
        refused: Which of the values given to the call were refused: points for `log_metrics`, keys for `log_params` and
            `log_summary`, tags for `add_tags`. Those are dropped and the others are sent again. Without it, they are
            searched for, which takes more calls.
    """

    def __init__(self, message: str, refused: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.refused = tuple(refused)


class GoneError(FinalError):
    """The service no longer has the run: the delivery recreates it and sends everything again."""


def is_about_content(error: BaseException | None) -> bool:
    """Return whether an exception is about what is in a file, so that the same call will never succeed.

    Pillow and others raise an OSError without a number for a picture that they cannot read or write; one of the system,
    or of a connection, has a number or a class of its own.
    """
    while error is not None:
        if (type(error) is OSError and error.errno is None) or type(error).__module__.startswith("PIL"):
            return True
        error = error.__cause__
    return False
