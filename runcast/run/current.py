"""The current run: the one that `runcast.log` and its siblings mean, as in W&B."""

from collections.abc import Mapping
from typing import Any, ClassVar

from runcast.core.errors import RuncastError
from runcast.journal.records import Status
from runcast.run.run import Run
from runcast.values.recorded import Recorded


class Current:
    """The runs that this process has begun, the newest last; the current one is the newest that is not finished."""

    begun: ClassVar[list[Run]] = []

    @classmethod
    def add(cls, run: Run) -> Run:
        """Make a run the current one; return it."""
        cls.begun = [one for one in cls.begun if one.status is None] + [run]
        return run

    @classmethod
    def find(cls) -> Run | None:
        """Return the current run, or None."""
        while cls.begun and cls.begun[-1].status is not None:
            cls.begun.pop()
        return cls.begun[-1] if cls.begun else None


def current_run(wanted: str) -> Run:
    """Return the current run for a call of `runcast.<wanted>`.

    Raises:
        RuncastError: There is none.
    """
    run = Current.find()
    if run is None:
        raise RuncastError(
            f"runcast.{wanted} is for the current run, and there is none: this process has begun none, or has finished "
            "it. Call runcast.init(project=…) first."
        )
    return run


def log(values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Append metrics and media to the current run, as `Run.log` does.

    Raises:
        RuncastError: There is no current run.
    """
    current_run("log(…)").log(values, step, commit)


def finish(status: Status = "finished", timeout_s: float | None = None, error: str | None = None) -> bool:
    """Finish the current run, as `Run.finish` does; without one, do nothing and return True."""
    run = Current.find()
    return True if run is None else run.finish(status, timeout_s, error)


def config() -> Recorded:
    """Return the config of the current run.

    Raises:
        RuncastError: There is no current run.
    """
    return current_run("config").config


def summary() -> Recorded:
    """Return the summary of the current run.

    Raises:
        RuncastError: There is no current run.
    """
    return current_run("summary").summary
