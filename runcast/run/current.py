"""The runs of this process: the current one, which `runcast.log` and its siblings mean, and the end of open ones."""

import atexit
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import Any, ClassVar

from runcast.core.errors import NoRunError
from runcast.core.foreign import attempt, described
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import interpreter
from runcast.journal.records import Status
from runcast.journal.status import status_of
from runcast.redaction.console import say
from runcast.run.compiling import leave_uncompiled
from runcast.run.run import Run
from runcast.run.status import last_error


def cell() -> int | None:
    """Return the number of the cell that is running, or None outside of a notebook or an interactive IPython."""
    shell = ipython()
    return None if shell is None else int(shell.execution_count)


def ipython() -> Any:
    """Return the shell of a notebook or an interactive IPython, or None; a script may import IPython as well."""
    module = sys.modules.get("IPython")
    return attempt(lambda: module.get_ipython(), lambda _: None)  # type: ignore[union-attr]


class Current:
    """The runs that this process has begun, the newest last; the current one is the newest that is not finished.

    A thread or an asyncio task that has an open run of its own means that one, whatever the others have begun since.
    """

    begun: ClassVar[list[Run]] = []
    begun_here: ClassVar[ContextVar[tuple[Run, ...]]] = ContextVar("runs of this thread or task", default=())
    cells: ClassVar[weakref.WeakKeyDictionary[Run, int | None]] = weakref.WeakKeyDictionary()  # of a notebook
    of_trainers: ClassVar[weakref.WeakSet[Run]] = weakref.WeakSet()  # those that the script has not begun itself

    @classmethod
    def add(cls, run: Run) -> Run:
        """Make a run the current one; return it."""
        leave_uncompiled(type(run), sys.modules[__name__])
        cls.begun.append(run)  # in one step, as another thread may add one, too
        for ended in [one for one in cls.begun if one.status is not None]:
            with contextlib.suppress(ValueError):
                cls.begun.remove(ended)
        cls.begun_here.set((*cls._open(cls.begun_here.get()), run))
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
        return cls._newest(cls.begun)

    @classmethod
    def of_script(cls) -> Run | None:
        """Return the newest open run that the script has begun by a call of `init`, or None."""
        return cls._newest([run for run in cls.begun if run not in cls.of_trainers])

    @classmethod
    def _newest(cls, runs: Sequence[Run]) -> Run | None:
        found = cls._open(runs)
        here = cls.begun_here.get() if len(found) > 1 else ()
        return next((run for run in reversed(found) if run in here), found[-1] if found else None)

    @staticmethod
    def _open(runs: Sequence[Run]) -> list[Run]:
        return [run for run in runs if run.status is None]


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


def log_samples(rows: Any, step: int | None = None, key: str = "samples") -> None:
    """Append rows of an LLM or RL run to the current run, as `Run.log_samples` does.

    Raises:
        NoRunError: There is no current run.
    """
    current_run("log_samples(…)").log_samples(rows, step, key)


def alert(title: str, text: str = "", level: str = "info") -> None:
    """Send an alert of the current run, as `Run.alert` does.

    Raises:
        NoRunError: There is no current run.
    """
    current_run("alert(…)").alert(title, text, level)


def finish(
    status: Status | int = "finished",
    timeout_s: float | None = None,
    error: str | None = None,
    *,
    exit_code: int | None = None,
) -> bool:
    """Finish the current run, as `Run.finish` does; without one, do nothing and return True."""
    run = Current.find()
    return True if run is None else run.finish(status, timeout_s, error, exit_code=exit_code)


def look_after(run: Run, *, watch: bool = True) -> None:
    """Finish the run with its true status when the interpreter exits; keep forked children from doing so.

    With *watch*, correct the status if the process turns out to have failed.
    """
    reference, pid, is_in_shell = weakref.ref(run), os.getpid(), ipython() is not None

    def at_exit(run: Run) -> None:  # keeps a reference: a run that a function opened and left must be finished too
        interactive = is_in_shell or hasattr(sys, "ps1")  # there, the last error need not end the process
        error = None if interactive else last_error()
        status, text = _ending(run, error)
        # `sys.exit(3)` cannot be seen from here: the exit code, which the C library knows, may correct the status.
        is_preliminary = watch and status == "finished" and not interactive and os.getpid() == pid and interpreter()
        carrier = run._carrier if is_preliminary else None
        is_awaited = carrier is not None and carrier.await_exit_code()
        with contextlib.suppress(KeyboardInterrupt):  # it ends the waiting, as the run has said; nothing else is left
            run.finish(status, error=text)
        if carrier is not None and is_awaited:
            carrier.tell_exit_code()
        elif is_preliminary:
            from runcast.delivery.courier.carriers import tell_exit_code

            attempt(lambda: tell_exit_code(RunDirectory(run.dir), run._file.session), run._report_failure)

    def after_fork() -> None:
        if (still := reference()) is not None:
            still.after_fork()

    atexit.register(at_exit, run)
    forget = _finish_with_worker(run)

    def on_finish() -> None:
        atexit.unregister(at_exit)
        forget()

    run.on_finish = on_finish
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_fork)


def _ending(run: Run, error: BaseException | None) -> tuple[Status, str | None]:
    return attempt(
        lambda: run.ending() if error is None and run.ending is not None else status_of(error),
        lambda failure: ("failed", described(failure)),
    )


def _finish_with_worker(run: Run) -> Callable[[], object]:
    """Finish the run when a worker of multiprocessing ends, if this is one: a forked worker runs no exit handlers.

    Return what undoes that.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return lambda: None
    before = sys.exc_info()[1]  # the worker may have been started while an error was handled

    def at_end() -> None:
        error = sys.exc_info()[1]
        status, text = _ending(run, None if error is before else error)
        code = _exit_code_of_worker()
        if status == "finished" and code:
            status, text = "failed", f"the worker has ended with the exit code {code}"
        with contextlib.suppress(KeyboardInterrupt):
            run.finish(status, error=text)

    if sys.version_info >= (3, 13):  # multiprocessing's handlers run when it has forgotten the code; these do not
        attempt(lambda: threading._register_atexit(at_end), lambda _: None)  # it refuses once the worker is ending
        return lambda: None  # to finish again does nothing
    from multiprocessing.util import Finalize  # a worker has imported it

    return Finalize(None, at_end, exitpriority=-1).cancel  # negative: after the worker's own children have ended


def _exit_code_of_worker() -> int:
    """Return the exit code that multiprocessing has for this worker while it ends it, as far as it tells."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_name != "_bootstrap":
        frame = frame.f_back
    code = None if frame is None else frame.f_locals.get("exitcode")
    return code or 0
