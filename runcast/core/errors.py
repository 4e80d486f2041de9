"""Every exception that runcast raises on purpose.

RuncastError
├── OptionError            a wrong argument or environment variable (also a ValueError)
│   └── UnknownTrackerError    an unknown tracker name in report_to
├── TrackerUnavailableError    requested by name, but not installed, too old, broken or not configured
├── NoRunError             runcast.log, config or summary without a current run (also an AttributeError)
├── CheckpointError        a checkpoint that is damaged, missing, or of another model
├── RankError              another process of the job failed, so this one cannot continue
├── JournalError           a run directory that cannot be read or is of another version
└── TrackerError           raised by a Tracker while it delivers
    ├── RetryableError         the same call may succeed later (network, 429, 5xx, locked database)
    ├── RestartError           the SDK in this process is unusable; a fresh process continues
    └── FinalError             the same call will never succeed (bad credentials, refused value)
        └── GoneError              the service no longer has the run: it was deleted
"""

from collections.abc import Iterable
from typing import Any


class RuncastError(Exception):
    """The base of every exception that runcast raises."""


class OptionError(RuncastError, ValueError):
    """An invalid argument or environment variable; the message says what is valid."""


class UnknownTrackerError(OptionError):
    """An unknown tracker name; the message lists the valid names and suggests the closest one."""


class TrackerUnavailableError(RuncastError):
    """A tracker requested by name that cannot be used; the message gives the reason and the command that fixes it."""


class NoRunError(RuncastError, AttributeError):
    """A use of the current run where there is none; the message says which call begins one."""


class CheckpointError(RuncastError):
    """An unusable checkpoint; the message names the file and what to do about it."""


class RankError(RuncastError):
    """The failure of another process of the job; the message says which one, and why."""


class JournalError(RuncastError):
    """An unusable run folder; the message names the file and what to do about it."""


class TrackerError(RuncastError):
    """An error raised by a Tracker; the delivery decides what happens to the record."""


class RetryableError(TrackerError):
    """A temporary failure; `retry_after_s` is the delay that the service asked for, if any."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RestartError(TrackerError):
    """A failure that only a fresh process can get past: the delivery restarts and reads the tracker back first."""


class FinalError(TrackerError):
    """A permanent failure: the affected values are counted as refused, and everything else is delivered.

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
    """A deleted run: the delivery recreates it and sends everything again."""


def is_about_content(error: BaseException | None) -> bool:
    """Return whether an exception is about a file's content, so that the same call will never succeed.

    Pillow and others raise an OSError without an errno for a picture that they cannot read or write. Errors of the
    system and of connections have an errno or a class of their own.
    """
    while error is not None:
        if (type(error) is OSError and error.errno is None) or type(error).__module__.startswith("PIL"):
            return True
        error = error.__cause__
    return False
