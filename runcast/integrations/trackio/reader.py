"""Read a run back from the tables of its project's SQLite file, here or on a server, with Trackio's own query."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from runcast.integrations.contract import Reading
from runcast.integrations.trackio.sdk import Store
from runcast.values.points import Point, PointList
from runcast.values.scalars import decoded

OWN = "runcast/"
SUMMARY, STATUS, TAGS, NOTES = f"{OWN}summary/", f"{OWN}status", f"{OWN}tags", f"{OWN}notes"
ERROR, ENDED, REPLACES = f"{OWN}error", f"{OWN}ended", f"{OWN}replaces"
ABOUT = frozenset(("_Username", "_Group", "_Created"))  # Trackio's own entries of a config
PAGE = (  # of the most rows that Trackio's query returns
    "SELECT id, step, timestamp, metrics FROM metrics WHERE run_id = $run AND id > $last ORDER BY id LIMIT 10000"
)


def has_run(store: Store) -> bool:
    """Return whether a project has the run."""
    return bool(store.query("SELECT id FROM metrics WHERE run_id = $run LIMIT 1"))


def read_config(store: Store) -> dict[str, Any]:
    """Read the config of a run."""
    found = store.query("SELECT config FROM configs WHERE run_id = $run")
    held: dict[str, Any] = json.loads(found[0]["config"]) if found else {}
    return held


def read_run(store: Store) -> Reading:
    """Read all of a run."""
    config, points, media = read_config(store), PointList(), list[tuple[str, int]]()
    params = {key: value for key, value in config.items() if key not in ABOUT and not key.startswith(OWN)}
    summary = {key.removeprefix(SUMMARY): decoded(value) for key, value in config.items() if key.startswith(SUMMARY)}
    reading = Reading(points=points, params=params, summary=summary, media=media, artifacts=set())
    for row, time in read_rows(store):
        step = row["step"]
        for key, value in json.loads(row["metrics"]).items():
            if not isinstance(value, dict):
                points.append(Point(key, decoded(value), step, 0.0 if store.server else time))
                continue
            media.append((key, step))
            if store.media is not None and "file_path" in value:
                reading.contents[key, step] = store.media / value["file_path"]
    _add_artifacts(store, reading)
    reading.tags, reading.notes = set(config.get(TAGS, ())), config.get(NOTES)
    reading.group, reading.status = config.get("_Group"), config.get(STATUS)
    reading.ended_at = config.get(ENDED) if reading.status != "running" else None
    if "_Created" in config:
        reading.started_at = datetime.fromisoformat(config["_Created"]).timestamp()
    named = store.query("SELECT run_name FROM metrics WHERE run_id = $run ORDER BY id DESC LIMIT 1")
    reading.name = named[0]["run_name"] if named else None
    return reading


def read_rows(store: Store) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield what was logged at once, in order, with its time."""
    last = 0
    while page := store.query(PAGE, last=str(last)):
        yield from ((row, datetime.fromisoformat(row["timestamp"]).timestamp()) for row in page)
        last = page[-1]["id"]


def _add_artifacts(store: Store, reading: Reading) -> None:
    found = store.query(
        "SELECT a.name AS name, v.manifest AS manifest FROM run_artifact_links l"
        " JOIN artifact_versions v ON v.id = l.artifact_version_id JOIN artifacts a ON a.id = v.artifact_id"
        " WHERE l.run_id = $run AND l.direction = 'output' ORDER BY l.id"
    )
    for row in found:
        assert reading.artifacts is not None
        reading.artifacts.add(row["name"])
        files = json.loads(row["manifest"])
        if len(files) == 1 and (kept := store.blob(files[0]["digest"])) is not None:
            reading.contents[row["name"]] = kept
