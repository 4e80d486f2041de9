"""How a run and its deliveries stand, from the run's folder alone: what `runcast status` prints."""

import os
import re
import shlex
from pathlib import Path

import msgspec

from runcast.core.journal import JournalReader
from runcast.core.layout import RunDirectory, RunFile, shown
from runcast.core.records import Metrics
from runcast.core.state import DeliveryState, Phase, load_state
from runcast.delivery.liveness import RunStatus, run_status
from runcast.delivery.metering import coverage_now
from runcast.delivery.ranks import gather_ranks
from runcast.integrations.table import TABLE, Address


class TrackerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """Says how far one tracker is; `phase` is None before its first delivery.

    `waiting` points are in the journal, `refused` ones are lost, by reason. One that `left` has no part in the last
    session, and nothing waits for it. `coverage` says how much of the training a meter has measured.
    """

    name: str
    online: bool
    reason: str
    measures: bool
    left: bool
    phase: Phase | None
    delivered: int
    waiting: int
    refused: dict[str, int]
    damaged: int
    where: str | None
    open_command: str | None
    error: str | None
    coverage: str | None = None


class RunOverview(msgspec.Struct, frozen=True, kw_only=True):
    """Says how a run stands.

    `points` counts those in the journal, `damaged` its lines that were cut off or are no record, and are lost.
    `skipped` maps a tracker to why it takes no part.
    """

    id: str
    name: str
    project: str
    path: str
    status: RunStatus
    host: str
    created: float
    session: int
    points: int
    damaged: int
    trackers: list[TrackerOverview]
    skipped: dict[str, str]


def overview(directory: RunDirectory) -> RunOverview:
    """Look at a run; no tracker is asked, and nothing written but what other ranks have logged, to the journal.

    Raises:
        JournalError: The folder is no run, or is damaged.
    """
    file = directory.load()
    gather_ranks(directory, file)
    status = run_status(directory, file)
    trackers = [_tracker(directory, file, name, is_running=status == "running") for name in file.trackers]
    counted = [t.delivered + t.waiting for t in trackers if not (t.measures or t.left)]
    return RunOverview(
        id=file.id,
        name=file.name,
        project=file.project,
        path=shown(directory.path),
        status=status,
        host=file.host,
        created=file.created,
        session=file.session,
        points=max(counted) if counted else waiting_points(directory.journal, 0, ""),
        damaged=max((tracker.damaged for tracker in trackers), default=0),
        trackers=trackers,
        skipped=file.skipped,
    )


def _tracker(directory: RunDirectory, file: RunFile, name: str, *, is_running: bool) -> TrackerOverview:
    choice, state = file.trackers[name], load_state(directory.tracker(name))
    known = state or DeliveryState()
    where = place(directory, name, state)
    return TrackerOverview(
        name=name,
        online=choice.online,
        reason=choice.reason,
        measures=choice.measures,
        left=choice.left,
        phase=state.phase if state else None,
        delivered=known.points,
        waiting=0 if choice.measures or choice.left else waiting_points(directory.journal, known.cursor, name),
        refused=known.refused,
        damaged=known.damaged,
        where=where,
        open_command=open_command(directory, name, where),
        error=known.error,
        coverage=coverage_now(directory, name, state, is_running=is_running) if choice.measures else None,
    )


def waiting_points(journal: Path, cursor: int, name: str) -> int:
    """Count the points behind *cursor* that the tracker *name* has yet to get."""
    try:
        return sum(
            len(record.values)
            for record in JournalReader(journal, cursor)
            if isinstance(record, Metrics) and record.by != name
        )
    except FileNotFoundError:
        return 0


def place(directory: RunDirectory, name: str, state: DeliveryState | None) -> str | None:
    """Say where a person sees the run: a web address or a path; None before the tracker has opened it."""
    url = state.url if state else None
    if url is None or "://" in url or url.startswith("file:") or is_service(name, url):
        return url
    if Path(url).exists():
        return shown(Path(url))
    return shown(directory.tracker(name))  # the run's folder was moved since


def open_command(directory: RunDirectory, name: str, where: str | None) -> str | None:
    """Return the command with which a person opens the run, or None if a web address is all it takes."""
    row = TABLE.get(name)
    if where is None or row is None or is_service(name, where) or (row.measures and Path(where).is_dir()):
        return None
    state, local = load_state(directory.tracker(name)), shown(directory.tracker(name))
    ids = state.ids if state is not None else {}
    places = {**ids, "url": where, "local": local, "directory": shown(directory.path)}
    places["folder"] = ids.get("folder") or os.path.join(local, row.folder).rstrip(os.sep)
    try:
        return row.open_command.format(**{key: shlex.quote(value) for key, value in places.items()})
    except KeyError:  # it remembers nothing, as its state was lost
        return None


def is_service(name: str, address: str) -> bool:
    """Tell whether an address leads to a service, and not to files or a database that a command has to open."""
    row = TABLE.get(name)
    servers = [one.pattern for one in row.credentials if isinstance(one, Address)] if row is not None else []
    return any(re.match(pattern, address) for pattern in (r"https?://", *servers))
