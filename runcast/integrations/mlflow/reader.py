"""Read an MLflow run back with MlflowClient, metric by metric."""

import json
import posixpath
import re
import sys
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric

from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.mlflow.files import list_files
from runcast.integrations.mlflow.paths import local_folder, remove_strays
from runcast.values.points import Point, PointList

MEDIA_PATH = re.compile(r"(?:images|media)/(.+?)[+%]step[+%](-?\d+)")
THUMBNAIL = re.compile(r"[+%]compressed\.webp\Z")
LABEL, PARAM, SUMMARY, ARTIFACT = "tag.", "runcast.param.", "runcast.summary.", "runcast.artifact."
STATUSES: Mapping[str, str] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "crashed": "FAILED"}


def read_run(client: MlflowClient, run: TrackedRun) -> Reading:
    """Read all of a run."""
    found = client.get_run(run.ids["run_id"])
    run_id, tags = found.info.run_id, found.data.tags
    keys = [key for key in found.data.metrics if not key.startswith("summary/")]
    artifacts = set(strip(tags, ARTIFACT))
    folders = {"images", "media", *(posixpath.dirname(name) for name in artifacts)}
    files = {name: place for folder in folders for name, place in list_files(client, run_id, folder).items()}
    media = [
        ((re.sub("[~#]", "/", m[1]), int(m[2])), place)
        for name, place in files.items()
        if (m := MEDIA_PATH.match(name)) and not THUMBNAIL.search(name)
    ]
    places: list[tuple[str | tuple[str, int], str]] = [
        *media,
        *((name, files[name]) for name in artifacts & files.keys()),
    ]
    root = local_folder(found.info.artifact_uri)
    remove_strays(client.tracking_uri)
    status = tags.get("runcast.status", "running")
    agrees = run.is_joined or STATUSES.get(status, "RUNNING") == found.info.status
    return Reading(
        points=PointList(point_of(metric) for key in keys for metric in client.get_metric_history(run_id, key)),
        params={**found.data.params, **strip(tags, PARAM)},
        summary={key: json.loads(text) for key, text in strip(tags, SUMMARY).items()},
        tags=set(strip(tags, LABEL)),
        artifacts=artifacts & files.keys(),
        media=[name for name, _ in media],
        contents={name: root / place for name, place in places} if root is not None else {},
        status=status if agrees else found.info.status.lower(),
        started_at=found.info.start_time / 1000,
        ended_at=found.info.end_time / 1000 if found.info.end_time else None,
        name=found.info.run_name,
        notes=tags.get("mlflow.note.content"),
        group=tags.get("runcast.group"),
    )


def strip(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the tags with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def point_of(metric: Metric) -> Point:
    """Return a point as it was logged: SQL stores keep an infinity as the largest float."""
    value = metric.value * 2 if abs(metric.value) == sys.float_info.max else metric.value
    return Point(metric.key, value, metric.step, metric.timestamp / 1000)
