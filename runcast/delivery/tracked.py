"""What a tracker is told about a run, put together from the run's folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcast.core.layout import RunDirectory, RunFile, TrackerChoice
from runcast.core.redaction import REDACTED
from runcast.core.state import load_state
from runcast.integrations.contract import TrackedRun

TOLD = frozenset(
    ("project", "name", "id", "group", "tags", "notes")
)  # the arguments of `init` that a tracker has a use for


def tracked_run(
    directory: RunDirectory, file: RunFile, name: str, choice: TrackerChoice, options: Mapping[str, Any] | None = None
) -> TrackedRun:
    """Describe a run to one tracker; *options* are the user's own, of which run.json has those without a secret."""
    folder = directory.tracker(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        options=_whole(choice.options) if options is None else options,
        given=TOLD.intersection(file.given),
        ids=dict(state.ids) if state else {},
        resumed=bool(state and state.attempts),
        url=state.url if state else None,
    )


def _whole(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was redacted: a tracker that is told nothing looks for its secrets where they are now."""
    return {key: value for key, value in options.items() if REDACTED not in str(value)}
