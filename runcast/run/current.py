"""The current run: the one that `runcast.log` and its siblings mean, as in W&B."""

import sys
from collections.abc import Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from runcast.core.errors import NoRunError
from runcast.core.foreign import attempt
from runcast.journal.records import Status
from runcast.redaction.console import say
from runcast.run.run import Run


def cell() -> int | None:
    """Return the number of the cell that is running, or None outside of a notebook or an interactive IPython."""
    shell = ipython()
    return None if shell is None else int(shell.execution_count)


def ipython() -> Any:
    """Return the shell of a notebook or an interactive IPython, or None; a script may import IPython as well."""
    module = sys.modules.get("IPython")
    return attempt(lambda: module.get_ipython(), lambda _: None)  # type: ignore[union-attr]


class Current:
    """The runs that this process has begun, the newest last; the current one is the newest that is not finished."""

    begun: ClassVar[list[Run]] = []
    cells: ClassVar[WeakKeyDictionary[Run, int | None]] = WeakKeyDictionary()  # of a notebook

    @classmethod
    def add(cls, run: Run) -> Run:
        """Make a run the current one; return it."""
        cls.begun = [one for one in cls.begun if one.status is None] + [run]
        cls.cells[run] = cell()
        return run

    @classmethod
    def end_earlier_cells(cls) -> None:
        """In a notebook, finish the runs that earlier cells have left open, as W&B does, because another one begins."""
        here = cell()
        for run in [one for one in cls.begun if one.status is None and here not in (None, cls.cells.get(one, here))]:
            say(f"the run {run.name} of an earlier cell is finished, because another one begins")
            run.finish()

    @classmethod
    def find(cls) -> Run | None:
        """Return the current run, or None."""
        while cls.begun and cls.begun[-1].status is not None:
            cls.begun.pop()
        return cls.begun[-1] if cls.begun else None


def current_run(wanted: str) -> Run:
    """Return the current run for a call of `runcast.<wanted>`.

    Raises:
        NoRunError: There is none.
    """
    run = Current.find()
    if run is None:
        raise NoRunError(
            f"runcast.{wanted} is for the current run, and there is none: this process has begun none, or has finished "
            "it. Call runcast.init(project=…) first."
        )
    return run


def log(values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Append metrics and media to the current run, as `Run.log` does.

    Raises:
        NoRunError: There is no current run.
    """
    current_run("log(…)").log(values, step, commit)


def finish(status: Status = "finished", timeout_s: float | None = None, error: str | None = None) -> bool:
    """Finish the current run, as `Run.finish` does; without one, do nothing and return True."""
    run = Current.find()
    return True if run is None else run.finish(status, timeout_s, error)
