"""The other sessions of a run: those before this one, and those of processes that have it open at the same time.

The latter are those of a training and a script that evaluates its checkpoints, for example. The deliveries of the
newest session carry what all of them log, and whoever finishes last ends the run.
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runcast.core.foreign import attempt
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import argument
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics, Params
from runcast.journal.state import Carrier, load_state
from runcast.redaction.console import say
from runcast.values.scalars import ParamValue

NAMED = 10


class EarlierParams:
    """The params at the beginning of a journal, read on first use."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._values: dict[str, ParamValue] | None = None

    def report_changed(self, values: Mapping[str, ParamValue]) -> None:
        """Report the params that had another value, once each."""
        if self._values is None:
            self._values = {}
            for record, _ in JournalReader(self._journal).read():
                if isinstance(record, Params):
                    self._values.update(record.values)
        earlier = self._values
        changed = sorted(key for key, value in values.items() if key in earlier and earlier.pop(key) != value)
        if changed:
            say(f"resumed with changed params: {', '.join(changed[:NAMED])}{' …' if len(changed) > NAMED else ''}")


def report_other(directory: RunDirectory, file: RunFile) -> None:
    """Report that a run that is about to be resumed is still open."""
    from runcast.delivery.liveness import run_status  # `delivery` is imported when a run begins

    if run_status(directory, file) == "running":
        say(f"the run {file.name} is still open in process {file.pid}: both log into it, and the last one ends it")


def report_left(directory: RunDirectory, file: RunFile, chosen: Collection[str]) -> None:
    """Report the trackers that the last session had, the next one does not choose, and points still wait for."""
    for name, choice in file.trackers.items():
        if name in chosen or choice.left or choice.measures or not choice.tracker:
            continue
        from runcast.delivery.lock import is_held  # likewise, and rarely needed

        folder = directory.tracker(name)
        state = load_state(folder)
        rest = JournalReader(directory.journal, state.cursor if state else 0)
        if any(isinstance(record, Metrics) and record.by != name for record in rest) and not is_held(folder):
            say(
                f"{name} has no part in this session, and lacks points of an earlier session. To send it all: runcast "
                f"sync {argument(directory.path)} --tracker {name}"
            )


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
