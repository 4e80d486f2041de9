"""The description of a run for a tracker, made from the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcast.delivery.liveness import ended_at
from runcast.integrations.contract import Ending, TrackedRun
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import make_private
from runcast.journal.state import DeliveryState, load_state

TOLD = frozenset(("project", "name", "id", "group", "tags", "notes"))  # the arguments of `init` that trackers use


def tracked_run(
    directory: RunDirectory, file: RunFile, name: str, choice: TrackerChoice, options: Mapping[str, Any] | None = None
) -> TrackedRun:
    """Describe a run to one tracker; *options* are the user's own."""
    folder = directory.tracker(name)
    make_private(folder)
    state = load_state(folder)
    return TrackedRun(
        id=file.id,
        name=file.name,
        project=file.project,
        directory=directory.path.resolve(),
        local=Path(folder).resolve(),
        created=file.created,
        online=choice.online,
        group=file.group,
        tags=tuple(file.tags),
        notes=file.notes,
        pid=file.pid,
        axes=file.axes,
        source=file.source,
        time=file.started if state is not None and state.attempts and file.started else file.created,
        options=options or {},
        script=file.argv[0] if file.argv else "",
        given=TOLD.intersection(file.given),
        ids=dict(state.ids) if state else {},
        resumed=bool(state and state.attempts),
        url=state.url if state else None,
    )


def ending_of(directory: RunDirectory, state: DeliveryState, session: int, last: float) -> Ending:
    """Describe the end of a session; *last* is the time of its last record."""
    assert state.ending is not None
    is_last = directory.load().session <= session
    return Ending(state.ending, state.ending_error, ended_at(directory) if is_last else last, session)
