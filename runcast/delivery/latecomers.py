"""Records that may follow the end of a run, from meters and other ranks, and the wait for them."""

import time
from collections.abc import Callable
from pathlib import Path

from runcast.delivery.lock import is_held
from runcast.delivery.ranks import RankFiles
from runcast.journal.layout import RunDirectory
from runcast.journal.state import is_over, load_state

POLL_S = 0.25
METERS_S = 60.0  # how long for the last measurements of meters
METER_RESTART_S = 10.0  # how long for a meter without a process: it may be about to start
RANKS_S = 10.0  # how long for other ranks of the job that neither log nor end

Wait = Callable[[float], None]


def wait_for_meters(directory: RunDirectory, session: int, wait: Wait) -> None:
    """Wait for the meters to close a session, so that their last measurements arrive before another tracker closes."""
    since = time.monotonic()
    trackers = directory.load().trackers
    meters = [directory.tracker(name) for name, choice in trackers.items() if choice.measures and not choice.left]
    while meters and (waited_s := time.monotonic() - since) < METERS_S:
        meters = [folder for folder in meters if _still_measures(folder, session, waited_s)]
        wait(POLL_S)


def wait_for_ranks(ranks: RankFiles, wait: Wait) -> None:
    """Wait for the other ranks of the job to end, except for those that have been silent for a while."""
    since = time.monotonic()
    while ranks.are_written() and time.monotonic() - since < RANKS_S:
        if ranks.gather():
            since = time.monotonic()
        wait(POLL_S)
    ranks.gather(closing=True)


def _still_measures(folder: Path, session: int, waited_s: float) -> bool:
    state = load_state(folder)
    if state is not None and (is_over(state, session) or (state.phase == "suspended" and state.session == session)):
        return False
    return is_held(folder) or waited_s < METER_RESTART_S
