"""Find out what has arrived at Comet, and whether an experiment was deleted there.

No call of the SDK tells: it sends in the background, and what Comet answers to messages for a deleted experiment is
documented nowhere. What the SDK does say is that Comet answers 400 or 404 when it is asked for the metadata of an
experiment that does not exist (`API.get_experiment_by_key`). One that Comet had, by that question, and does not have
any more is gone; one that is only archived is there. Whether the key of a deleted one can be used again is not known:
the new experiment has another. Seen in comet_ml 3.43.2 and 3.58.8, 2026-11-27.

A process that is killed does not note any more what Comet acknowledges, so the next one asks for the metrics.
"""

import time
from collections import Counter
from typing import Any

import comet_ml
import requests
from comet_ml.config import get_backend_address
from comet_ml.exceptions import CometException

from runcast.integrations.comet_ml import reader
from runcast.integrations.comet_ml.sessions import (
    OPEN,
    count_unsent,
    keep_session,
    list_sessions,
    mark_sent,
    oldest_unsent,
)
from runcast.integrations.contract import TrackedRun
from runcast.values.points import Point

LOOK_S = 5.0
MOST_ASKED = 50  # metrics, with a request for each; points of others are sent again
SEEN = "seen"  # the run remembers the key that Comet has found


class Stuck:
    """A message that Comet does not acknowledge."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._looked_at = run, time.monotonic()
        self._waiting: int | None = None

    def look(self) -> bool:
        """Return whether a message waits that waited at the last look, too, a while ago."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return False
        before, self._looked_at, self._waiting = self._waiting, now, oldest_unsent(self._run)
        return before is not None and before == self._waiting


def is_gone(run: TrackedRun) -> bool:
    """Ask Comet whether it no longer has the experiment; that it has it is remembered. No answer is no."""
    try:
        api = comet_ml.API(run.options.get("api_key"), cache=False)
        is_there = api.get_experiment_by_key(run.ids["key"]) is not None
    except (CometException, requests.RequestException, ConnectionError):
        return False
    server = get_backend_address()
    if is_there:
        run.remember(**{SEEN: run.ids["key"], "server": server})
    is_lost = not is_there and run.ids.get(SEEN) == run.ids["key"]
    if is_lost:
        run.check_server(server)
    return is_lost


def note_arrived(run: TrackedRun, *, online: bool) -> None:
    """Note what Comet has, though this run does not know: from a session that was killed, or from another copy of it.

    What Comet does not show is sent again.
    """
    waiting = reader.unsent_points(run.local / OPEN) if online else {}
    if waiting:
        known = Counter(map(_identity, reader.read_sessions(list_sessions(run)).points))
        names = sorted({point.key for point in waiting.values()})[:MOST_ASKED]
        held = Counter(_identity(point) for name in names for point in _points_at_comet(run, name)) - known
        arrived = set()
        for number, point in waiting.items():
            if held[_identity(point)] > 0:
                held[_identity(point)] -= 1
                arrived.add(number)
        mark_sent(run.local / OPEN, arrived)
    elif online and not run.resumed:
        points = [point for point in _points_at_comet(run) if _is_ours(point, run)]
        run.found = bool(points)
        if points:
            keep_session(run, points)


def _is_ours(point: Point, run: TrackedRun) -> bool:
    """Return whether a point is of this run: not of an earlier one with its key, nor the SDK's own."""
    return point.time >= run.created and not point.key.startswith("sys.")


def _points_at_comet(run: TrackedRun, metric: str | None = None) -> list[Point]:
    """Ask Comet for the points of all metrics or of one. No answer is none."""
    try:
        experiment = comet_ml.API(run.options.get("api_key"), cache=False).get_experiment_by_key(run.ids["key"])
        found = (experiment.get_metrics(metric) if experiment is not None else None) or ()
    except (CometException, requests.RequestException, ConnectionError):
        return []
    return [reader.point_of(each, each["timestamp"]) for each in found]


def _identity(point: Point) -> tuple[str, str, int, int]:
    return point.key, str(float(point.value)), point.step, round(point.time * 1000)


def is_acknowledged(run: TrackedRun, experiment: Any, timeout_s: float) -> bool:
    """Return whether Comet has everything: the SDK's own `flush` is content when nothing waits to be tried."""
    deadline = time.monotonic() + timeout_s
    while unsent := count_unsent(run):
        if time.monotonic() > deadline or not experiment.streamer.has_connection_to_server():
            break
        time.sleep(0.1)
    return not unsent
