"""The end of a process: a run that is still open is finished with its true status."""

import atexit
import contextlib
import os
import sys
import weakref
from collections.abc import Callable

from runcast.core.foreign import attempt, described
from runcast.journal.layout import RunDirectory
from runcast.journal.records import Status
from runcast.journal.status import status_of
from runcast.run.current import ipython
from runcast.run.run import Run


def look_after(run: Run, *, watch: bool = True) -> None:
    """Finish the run with its true status when the interpreter exits; keep forked children from doing so.

    With *watch*, correct the status if the process turns out to have failed.
    """
    reference, pid, is_in_shell = weakref.ref(run), os.getpid(), ipython() is not None

    def at_exit(run: Run) -> None:  # keeps a reference: a run that a function opened and left must be finished too
        interactive = is_in_shell or hasattr(sys, "ps1")  # there, the last error need not end the process
        error = None if interactive else getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        status, text = _ending(run, error)
        # `sys.exit(3)` cannot be seen from here: the exit code, which the C library knows, may correct the status.
        is_preliminary = watch and status == "finished" and not interactive and os.getpid() == pid
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
    from multiprocessing.util import Finalize  # a worker has imported it

    before = sys.exc_info()[1]  # the worker may have been started while an error was handled

    def at_end() -> None:
        error = sys.exc_info()[1]
        status, text = _ending(run, None if error is before else error)
        with contextlib.suppress(KeyboardInterrupt):
            run.finish(status, error=text)

    return Finalize(None, at_end, exitpriority=-1).cancel  # negative: after the worker's own children have ended


__all__ = ["look_after"]
