"""The status of a run and its deliveries, read from its folder alone, as `runcast status` prints it."""

import msgspec

from runcast.delivery.addresses import open_command, place
from runcast.delivery.liveness import RunStatus, last_end, run_status
from runcast.delivery.metering import coverage_now
from runcast.delivery.ranks import gather_ranks
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import shown
from runcast.journal.state import DeliveryState, Phase, Waiting, load_state, waiting_for


class TrackerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of one tracker; `phase` is None before its first delivery.

    `waiting` points are in the journal, the oldest of them for `lag_s` seconds; `refused` ones are counted by reason. A
    tracker that has `left` has no part in the last session, and nothing waits for it. `coverage` says how much of the
    training a meter has measured.
    """

    name: str
    online: bool
    reason: str
    measures: bool
    left: bool
    phase: Phase | None
    delivered: int
    waiting: int
    lag_s: float
    refused: dict[str, int]
    damaged: int
    where: str | None
    open_command: str | None
    error: str | None
    coverage: str | None = None


class RunOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a run.

    `points` counts the points in the journal, `damaged` its truncated or damaged lines, which are lost, and `dropped`
    the values that the last session could not keep (known when it has ended). `skipped` maps a tracker to the reason
    why it takes no part.
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
    dropped: int
    trackers: list[TrackerOverview]
    skipped: dict[str, str]


def overview(directory: RunDirectory) -> RunOverview:
    """Describe a run without asking any tracker; new records of other ranks are copied into the journal.

    Raises:
        JournalError: The folder is not a run, or is damaged.
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
        points=max(counted) if counted else waiting_for(directory.journal, "", 0).points,
        dropped=end.dropped if (end := last_end(directory)) is not None else 0,
        damaged=max((tracker.damaged for tracker in trackers), default=0),
        trackers=trackers,
        skipped=file.skipped,
    )


def _tracker(directory: RunDirectory, file: RunFile, name: str, *, is_running: bool) -> TrackerOverview:
    choice, state = file.trackers[name], load_state(directory.tracker(name))
    known = state or DeliveryState()
    left = Waiting() if choice.measures or choice.left else waiting_for(directory.journal, name, known.cursor)
    where = place(directory, name, state)
    return TrackerOverview(
        name=name,
        online=choice.online,
        reason=choice.reason,
        measures=choice.measures,
        left=choice.left,
        phase=state.phase if state else None,
        delivered=known.points,
        waiting=left.points,
        lag_s=left.lag_s,
        refused=known.refused,
        damaged=known.damaged,
        where=where,
        open_command=open_command(directory, name, where),
        error=known.error,
        coverage=coverage_now(directory, name, state, is_running=is_running) if choice.measures else None,
    )
