"""Read the sessions of a run, as Comet has no reader for them, only `comet offline --csv`, which knows metrics alone.

Messages that the server has not acknowledged do not count. Seen in comet_ml 3.43.2 and 3.58.8, 2026-11-20.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.integrations.comet_ml.sessions import MESSAGES, unsent_in
from runcast.integrations.contract import Reading
from runcast.values.points import Point, PointList
from runcast.values.scalars import decoded

DESCRIPTION = "experiment.json"
NAME, GROUP, NOTES, STATUS, ERROR = "Name", "group", "notes", "runcast/status", "runcast/error"
STOPPED, REPLACES = "experiment_stopped_by_user", "runcast/replaces"
OWN_OTHERS = frozenset(
    (NAME, GROUP, NOTES, STATUS, ERROR, STOPPED, REPLACES, "Created from", "hasNestedParams", "offline_experiment")
)
OWN_METRICS = frozenset(("process duration",))
OWN_PARAMS = frozenset(("curr_step", "curr_epoch"))
METADATA = "runcast"


def read_sessions(paths: Sequence[Path], *, has_times: bool = False) -> Reading:
    """Join the sessions of one run, the oldest first; the status is that of the newest.

    The start and the end in an archive are what Comet shows if it was uploaded, and not if it was kept online.
    """
    reading = Reading(params={}, summary={}, tags=set(), artifacts=set(), media=[])
    for path in paths:
        reading.status = "running"
        description, messages = _open_folder(path) if path.is_dir() else _open_archive(path)
        if description:
            reading.status = "failed" if description.get("customer_error_reported") else "finished"
            if has_times:
                reading.started_at = reading.started_at or _seconds(description.get("start_time"))
                reading.ended_at = _seconds(description.get("stop_time"))
            reading.tags = {*(reading.tags or ()), *description["tags"]}
        for kind, payload in messages:
            _add(kind, payload, reading)
    return reading


def unsent_points(folder: Path) -> dict[int, Point]:
    """Map the numbers of an open session's messages that the server has not acknowledged to the points in them."""
    unsent = unsent_in(folder)
    waiting = (payload for kind, payload in _read_folder(folder) if kind == "metric_msg")
    return {
        payload["message_id"]: point_of(payload["metric"], payload["local_timestamp"])
        for payload in waiting
        if payload.get("message_id") in unsent
    }


def point_of(metric: Mapping[str, Any], milliseconds: int) -> Point:
    """Return the point that Comet's form of one holds: with a number, or with its text if Comet itself has sent it."""
    value = metric["metricValue"]
    if isinstance(value, str):
        value = int(value) if value.lstrip("-").isdigit() else float(value)
    return Point(metric["metricName"], value, metric["step"], milliseconds / 1000)


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds else None


def _open_archive(path: Path) -> tuple[Mapping[str, Any], Iterator[tuple[str, Any]]]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(DESCRIPTION)), _parse(archive.read(MESSAGES).splitlines())


def _open_folder(path: Path) -> tuple[Mapping[str, Any], Iterator[tuple[str, Any]]]:
    unsent = unsent_in(path)
    return {}, ((kind, payload) for kind, payload in _read_folder(path) if payload.get("message_id") not in unsent)


def _read_folder(path: Path) -> Iterator[tuple[str, Any]]:
    return _parse(line for file in path.glob(f"*/{MESSAGES}") for line in file.read_bytes().splitlines())


def _parse(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    for line in lines:
        try:
            message = json.loads(line)
        except ValueError:  # the end of a session that was cut off
            return
        yield message["type"], message["payload"]


def _add(kind: str, payload: Any, reading: Reading) -> None:
    if kind == "metric_msg":
        _add_point(payload, reading)
    elif kind == "parameter_msg":
        _add_param(payload.get("param") or {}, reading)
    elif kind == "log_other":
        _add_other(payload["key"], payload["value"], reading)
    elif kind == "file_upload":
        _add_file((payload.get("metadata") or {}).get(METADATA) or {}, reading)


def _add_point(payload: Any, reading: Reading) -> None:
    point = point_of(payload["metric"], payload["local_timestamp"])
    if point.key not in OWN_METRICS:
        assert isinstance(reading.points, PointList)
        reading.points.append(point)


def _add_param(param: Any, reading: Reading) -> None:
    assert reading.params is not None
    if param.get("source") == "manual":
        reading.params[param["paramName"]] = param["paramValue"]


def _add_other(key: str, value: Any, reading: Reading) -> None:
    assert reading.summary is not None
    if key in (NAME, GROUP, NOTES, STATUS):
        setattr(reading, {NAME: "name", STATUS: "status"}.get(key, key), value)
    elif key not in OWN_OTHERS:
        reading.summary[key] = decoded(value)


def _add_file(ours: Any, reading: Reading) -> None:
    assert reading.artifacts is not None
    assert isinstance(reading.media, list)
    if "artifact" in ours:
        reading.artifacts.add(ours["artifact"])
    elif "key" in ours:
        reading.media.append((ours["key"], ours["step"]))
