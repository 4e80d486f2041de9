"""Write runs to MLflow: to a tracking server, else to one SQLite store that all runs of a folder share.

Needs: mlflow 2.14 or newer, tested with 3.17.2; for a server mlflow-skinny is enough.
Writes: where the option `tracking_uri` or MLFLOW_TRACKING_URI says, else to mlflow.db beside the run directories, with
    files in mlartifacts: one store for all runs, because people open MLflow to compare them. A run that the script has
    open (`mlflow.start_run`) is joined, with the default delivery too, and left open; so is one in `setup={"mlflow":
    {"run_id": ..., "keep_open": True}}`. A run that somebody deleted is made anew, with the tag `runcast.replaces`.
    A file whose name differs from another's by case only is in a folder `_0x…_`, where the file system ignores case.
Drops: captions of media; empty folders; parameters beyond MLFLOW_MAX_LOG_PARAMS. MLflow keeps absolute paths of files:
    when the folder of all runs is moved, they are put right by the next `runcast sync` or `runcast verify`.
Limits: the constants below, from mlflow/utils/validation.py and MlflowClient.log_image of 3.17.2, read on 2026-11-20.
    SQL stores keep ±inf as the largest float, and one point for each (key, millisecond, step, value).
"""

import json
import os
import posixpath
import re
import shutil
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError, is_about_content
from runcast.integrations.contract import (
    ArtifactFile,
    Ending,
    MediaFile,
    Number,
    ParamValue,
    Point,
    Reading,
    TrackedRun,
    Tracker,
)
from runcast.integrations.files import MARKED, RESERVED, name_of, own_name
from runcast.integrations.mlflow_store import (
    SERVER,
    TAG_CHARS,
    begin_run,
    choose_store,
    follow_move,
    has_run,
    heed_retry_after,
    known_run,
    own_store,
    own_tags,
    prepare_store,
    public,
    retry_after_s,
)
from runcast.values.names import NameRule
from runcast.values.points import PointList

KEY_CHARS = 250
PARAM_CHARS = 6000
THUMBNAIL_PIXELS = 256
NOT_IMPLEMENTED = 501  # of a server that keeps no files, for one
# A name must be a relative path, too: no empty part, no part "." or "..", and no ".." at its start.
PATH = r"\A/|/(?=/|\Z)|(?<![^/])\.(?=\.?(?:/|\Z))|\A\.(?=\.)"
KEY = rf"[^/\w.\- :]|{PATH}"
FILE = rf"[^/A-Za-z0-9_.\- ]|{PATH}|{RESERVED}"
MEDIA_PATH = re.compile(r"(?:images|media)/(.+?)[+%]step[+%](-?\d+)")
THUMBNAIL = re.compile(r"[+%]compressed\.webp\Z")
DELETED = re.compile(r"The run \S+ must be in the 'active' state")
LABEL, PARAM, SUMMARY, ARTIFACT = "tag.", "runcast.param.", "runcast.summary.", "runcast.artifact."
STATUSES: Mapping[str, str] = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED", "crashed": "FAILED"}


class MlflowTracker(Tracker):
    """One run, written through MlflowClient alone: the fluent functions keep a run for each thread."""

    name = "mlflow"
    variables: ClassVar[Mapping[str, str]] = {
        "tracking_uri": "MLFLOW_TRACKING_URI",
        "run_id": "MLFLOW_RUN_ID",
        "experiment_id": "MLFLOW_EXPERIMENT_ID",
        "project": "MLFLOW_EXPERIMENT_NAME",
    }
    identities = frozenset(("run_id",))
    names: ClassVar[NameRule] = NameRule(rf"\As(?=ummary/)|{KEY}", KEY_CHARS - len(SUMMARY))
    param_names: ClassVar[NameRule] = NameRule(KEY, KEY_CHARS - len(PARAM))
    tag_names: ClassVar[NameRule] = NameRule(KEY, KEY_CHARS - len(LABEL))
    media_names: ClassVar[NameRule] = NameRule(FILE, 150)
    artifact_names: ClassVar[NameRule] = NameRule(rf"\A[im](?=(mages|edia)(/|\Z))|{FILE}", KEY_CHARS - len(ARTIFACT))
    max_param_chars = PARAM_CHARS

    time_resolution_s = 1.0  # milliseconds, and equal points of one millisecond lie one after another

    _client: MlflowClient
    _tracked: TrackedRun
    _uri = ""
    _run_id: str
    _files: Path | None  # the folder of the run's files, if it is one of this machine
    _is_guest: bool
    _is_open = False

    def __init__(self) -> None:
        self._stamps: dict[tuple[str, int, str], int] = {}

    def setup(self, run: TrackedRun) -> None:
        """Begin the run, find the one begun earlier, or join the one in MLFLOW_RUN_ID."""
        self._tracked, self._uri = run, choose_store(run)
        uri = self._uri
        own = uri == own_store(run)
        run.remember(tracking_uri="" if own else public(uri))
        heed_retry_after()
        prepare_store(uri, run, is_own=own)
        self._client, tags = MlflowClient(uri), own_tags(run)
        found = known_run(self._client, run) or begin_run(self._client, run, tags)
        is_ours = "run_id" in run.ids or "runcast.run_id" in found.data.tags
        is_theirs = run.options.get("keep_open") and run.options.get("run_id") == found.info.run_id
        if is_theirs or (found.info.status == "RUNNING" and not is_ours):
            run.join()  # it a run that is open elsewhere: its owner ends it
        run.remember(run_id=found.info.run_id)
        self._run_id, self._is_guest = found.info.run_id, run.is_joined
        self._files = _local_folder(found.info.artifact_uri)
        if found.info.status != "RUNNING" and not self._is_guest:
            self._client.update_run(self._run_id, "RUNNING")
        new = {key: value for key, value in tags.items() if key not in found.data.tags}
        self._client.log_batch(self._run_id, tags=_run_tags({**new, "runcast.status": "running"}))
        page = f"/#/experiments/{found.info.experiment_id}/runs/{self._run_id}" if uri.startswith("http") else ""
        run.url = public(uri).rstrip("/") + page
        self._is_open = True

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Store params; MLflow refuses another value for one, so the last value of a changed one is a tag."""
        texts = {key: str(value) for key, value in params.items()}
        stored = self._client.get_run(self._run_id).data
        room = int(os.environ.get("MLFLOW_MAX_LOG_PARAMS") or sys.maxsize) - len(stored.params)
        new = [Param(key, text) for key, text in texts.items() if key not in stored.params][: max(0, room)]
        old = {key: stored.tags.get(PARAM + key, text) for key, text in stored.params.items()}
        changed = {PARAM + key: text for key, text in texts.items() if old.get(key, text) != text}
        self._client.log_batch(self._run_id, params=new, tags=_run_tags(changed))

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points; an exact repeat of one gets the next free millisecond, as it would vanish otherwise."""
        stamps, metrics = dict(self._stamps), []
        for point in points:
            same = _identity(point)
            stamps[same] = max(int(point.time * 1000), stamps.get(same, -1) + 1)
            metrics.append(Metric(point.key, float(point.value), stamps[same], point.step))
        # The newest first: so MLflow rewrites the latest value of a metric once, and not for each point.
        self._client.log_batch(self._run_id, metrics=metrics[::-1])
        # Only now: a batch that failed comes again with the same stamps, so that what the store has of it stays single.
        newest = max((int(point.time * 1000) for point in points), default=0)
        self._stamps = {same: stamp for same, stamp in stamps.items() if stamp >= newest}

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Store each value exactly as a tag, and a number also as the metric `summary/<key>`, which MLflow sorts by."""
        texts = {key: json.dumps(value) for key, value in values.items()}
        fitting = {SUMMARY + key: text for key, text in texts.items() if len(text) <= TAG_CHARS}
        now = int(self._tracked.time * 1000)
        numbers = {key: float(value) for key, value in values.items() if not isinstance(value, str | bool)}
        metrics = [Metric(f"summary/{key}", value, now, 0) for key, value in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics, tags=_run_tags(fitting))
        if len(fitting) < len(texts):
            raise FinalError(
                f"A summary text has more than the {TAG_CHARS} characters of a tag. Log it as an artifact."
            )

    def add_tags(self, tags: Sequence[str]) -> None:
        """Store each label as the tag `tag.<label>`, for MLflow's tags are pairs."""
        self._client.log_batch(self._run_id, tags=_run_tags({LABEL + tag: "true" for tag in tags}))

    def log_media(self, media: MediaFile) -> None:
        """Store an image as MLflow's own, anything else as a file in media/."""
        image = _open_image(media.path) if media.kind == "image" else None
        name = f"media/{media.key.replace('/', '~')}+step+{media.step}{media.path.suffix}"
        if image is None:
            self._upload(media.path, name)
            return
        try:
            self._client.log_image(
                self._run_id, image, key=media.key, step=media.step, timestamp=int(media.time * 1000)
            )
            return
        except OSError as error:  # of a colour mode that PNG has not, or a file that is cut
            if not is_about_content(error):
                raise
        self._upload(media.path, name)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Store a file or a folder under its name; a tag holds its kind."""
        self._upload(artifact.path, artifact.name)
        self._client.set_tag(self._run_id, ARTIFACT + artifact.name, artifact.kind)

    def finish(self, ending: Ending) -> None:
        """End the run, unless it was open before us; MLflow has no word for crashed, so a tag tells it from failed."""
        if not self._is_open:
            return
        tags = {
            "runcast.status": ending.status,
            **({"runcast.error": ending.error[-TAG_CHARS:]} if ending.error else {}),
        }
        self._client.log_batch(self._run_id, tags=_run_tags(tags))
        if not self._is_guest:
            end = int(ending.ended_at * 1000)
            self._client.set_terminated(self._run_id, STATUSES[ending.status], end)
        self._is_open = False

    def explain(self, error: Exception) -> TrackerError | None:
        """MLflow calls a refused connection an internal error; without a server it is one."""
        message = public(str(error))
        if isinstance(error, MlflowException):
            status = error.get_http_status_code()
            is_server = status >= 500 and status != NOT_IMPLEMENTED and SERVER.match(self._uri)
            if status in (408, 429, 503, 504) or is_server:
                return RetryableError(message, retry_after_s(error))
            is_gone = error.error_code == "RESOURCE_DOES_NOT_EXIST" or DELETED.search(message)
            return GoneError(message) if is_gone else FinalError(message)
        if isinstance(error, sqlite3.Error):
            kind = RetryableError if isinstance(error, sqlite3.OperationalError) else FinalError
            return kind(f"{public(self._uri)}: {message}")
        status = getattr(getattr(error, "response", None), "status_code", 0)  # of an upload
        if 400 <= status < 500 or status == NOT_IMPLEMENTED or isinstance(error, ValueError):
            return FinalError(message)  # a ValueError is of a step of more than 64 bits, over HTTP
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        """Ask the store for the run."""
        self._uri = choose_store(run)
        return has_run(MlflowClient(self._uri), run.ids["run_id"]) if "run_id" in run.ids else None

    def read(self, run: TrackedRun) -> Reading:
        """Read the run with MlflowClient, metric by metric."""
        uri = self._uri = choose_store(run)
        if "run_id" not in run.ids:
            return Reading()
        if uri == own_store(run) and not (run.directory.parent / "mlflow.db").exists():
            again = f"runcast replay {run.directory} --to mlflow"
            raise FinalError(f"There is no mlflow.db beside {run.directory}. Deliver the run again with: {again}")
        if uri == own_store(run):
            follow_move(uri)
        client = MlflowClient(uri)
        found = client.get_run(run.ids["run_id"])
        run_id, tags = found.info.run_id, found.data.tags
        keys = [key for key in found.data.metrics if not key.startswith("summary/")]
        points = PointList(_point(metric) for key in keys for metric in client.get_metric_history(run_id, key))
        artifacts = set(_strip(tags, ARTIFACT))
        folders = {posixpath.dirname(name) for name in artifacts}
        files = {path for folder in folders for path in _list_files(client, run_id, folder)}
        media = [path for folder in ("images", "media") for path in _list_files(client, run_id, folder)]
        # The delivery reads after a cut: the repeat of a point that was stored must not fall on it.
        self._stamps = {_identity(point): round(point.time * 1000) for point in points}
        status = tags.get("runcast.status", "running")
        agrees = run.is_joined or STATUSES.get(status, "RUNNING") == found.info.status
        return Reading(
            points=points,
            params={**found.data.params, **_strip(tags, PARAM)},
            summary={key: json.loads(text) for key, text in _strip(tags, SUMMARY).items()},
            tags=set(_strip(tags, LABEL)),
            artifacts=artifacts & files,
            media=[
                (re.sub("[~#]", "/", m[1]), int(m[2]))
                for path in media
                if (m := MEDIA_PATH.match(path)) and not THUMBNAIL.search(path)
            ],
            status=status if agrees else found.info.status.lower(),
            started_at=found.info.start_time / 1000,
            ended_at=found.info.end_time / 1000 if found.info.end_time else None,
            name=found.info.run_name,
            notes=tags.get("mlflow.note.content"),
            group=tags.get("runcast.group"),
        )

    def _upload(self, path: Path, target: str) -> None:
        folder, name = posixpath.split(target if self._files is None else own_name(self._files, target))
        with self._tracked.scratch() as temporary:
            if path.is_dir():
                self._client.log_artifacts(self._run_id, str(path), posixpath.join(folder, name))
                return
            if path.name != name:  # MLflow stores a file under the name that it has on disk
                path = _under_name(path, Path(temporary, name))
            self._client.log_artifact(self._run_id, str(path), folder or None)


def _local_folder(uri: str) -> Path | None:
    found = urlsplit(uri)
    return Path(url2pathname(found.path) if found.scheme else uri) if found.scheme in ("", "file") else None


def _list_files(client: MlflowClient, run_id: str, folder: str) -> list[str]:
    """List what is in a folder of the run, with what other spellings of its names keep elsewhere."""
    others = [file.path for file in client.list_artifacts(run_id) if fnmatch(file.path, MARKED)]
    places = [posixpath.join(*filter(None, (other, folder))) if other or folder else None for other in ("", *others)]
    return [name_of(file.path) for place in places for file in client.list_artifacts(run_id, place)]


def _under_name(path: Path, wanted: Path) -> Path:
    """Give a file another name, by a link, or by a copy where the file system has no links."""
    try:
        wanted.symlink_to(path.absolute())
    except OSError:
        shutil.copyfile(path, wanted)
    return wanted


def _run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in tags.items()]


def _strip(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def _identity(point: Point) -> tuple[str, int, str]:
    return point.key, point.step, str(point.value + 0.0)  # as text NaN is itself; + 0.0 does away with ints and -0.0


def _point(metric: Metric) -> Point:
    value = metric.value * 2 if abs(metric.value) == sys.float_info.max else metric.value
    return Point(metric.key, value, metric.step, metric.timestamp / 1000)


def _open_image(path: Path) -> mlflow.Image | None:
    """Open an image for MLflow; None without Pillow (mlflow-skinny), or if it is unknown or too thin to be shrunk."""
    try:
        image = mlflow.Image(str(path))
    except (ImportError, OSError):
        return None
    return image if max(image.size) < THUMBNAIL_PIXELS * min(image.size) else None
