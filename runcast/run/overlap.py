"""A run that several processes have open at once, such as a training and a script that evaluates its checkpoints.

Each of them has a session of it. The deliveries of the newest session carry what all of them log, and whoever finishes
last ends the run.
"""

from collections.abc import Callable

from runcast.core.foreign import attempt
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.state import Carrier
from runcast.redaction.console import say


def report_other(directory: RunDirectory, file: RunFile) -> None:
    """Report that a run that is about to be resumed is still open."""
    from runcast.delivery.liveness import run_status  # `delivery` is imported when a run begins

    if run_status(directory, file) == "running":
        say(f"the run {file.name} is still open in process {file.pid}: both log into it, and the last one ends it")


def is_superseded(carrier: Carrier, session: int) -> bool:
    """Return whether a newer session has been closed: nobody delivers what a process of this one logs now."""
    return any(state.session > session and state.phase == "finished" for state in carrier.states().values())


def ends_run(directory: RunDirectory, session: int, reopen: Callable[[], None] | None) -> bool:
    """Return whether the process of a session ends the run when it finishes.

    If a newer session has ended meanwhile, and this process has logged since, begin another session, which delivers
    that.

    Args:
        directory: The run's folder.
        session: The session of this process.
        reopen: Begins another session here; None if it would deliver nothing.
    """
    newest = attempt(directory.load, lambda _: None)
    if newest is None or newest.session <= session:
        return True
    from runcast.delivery.liveness import is_continued, run_status  # likewise, and rarely needed

    if run_status(directory, newest) in ("running", "unknown") or not is_continued(directory):
        return False
    if reopen is not None:
        attempt(reopen, lambda _: None)  # without it, `runcast sync` delivers the rest
    return True
