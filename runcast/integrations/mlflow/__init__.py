"""Write runs to MLflow: to a tracking server, else to one SQLite store that all runs of a folder share.

Needs: mlflow 2.14 or newer, tested with 3.17.2; for a server mlflow-skinny is enough.
Writes: where the option `tracking_uri` or MLFLOW_TRACKING_URI says, else to mlflow.db beside the run directories, with
    files in mlartifacts: one store for all runs, because people open MLflow to compare them. A run that the script has
    open (`mlflow.start_run`) is joined, with the default delivery too, and left open; so is one in `setup={"mlflow":
    {"run_id": ..., "keep_open": True}}`. A deleted run is recreated, with the tag `runcast.replaces`.
    An artifact is in a folder `_0x…_` of its own if its place is taken: if it is called `model/part` where `model` is
    another one, or differs by case only on a file system that ignores case.
Drops: captions of media; empty folders; parameters beyond MLFLOW_MAX_LOG_PARAMS. MLflow keeps absolute paths of files:
    when the folder of all runs is moved, they are put right by the next `runcast sync` or `runcast verify`.
Limits: the constants below, from mlflow/utils/validation.py and MlflowClient.log_image of 3.17.2, read on 2026-11-20.
    SQL stores keep ±inf as the largest float, and one point for each (key, millisecond, step, value). A
    `file:` store, whose names are files, takes no `loss/train` beside `loss`, and may take `Loss` for `loss`.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from mlflow.entities import Metric, Param

from runcast.core.errors import FinalError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import RESERVED
from runcast.integrations.mlflow import foreign, store
from runcast.integrations.mlflow.files import RunFiles
from runcast.integrations.mlflow.points import database_of, identity_of, write_points
from runcast.integrations.mlflow.reader import ARTIFACT, LABEL, PARAM, STATUSES, SUMMARY, read_run, strip
from runcast.integrations.mlflow.sdk import Client, heed_retry_after, meaning, public, run_tags
from runcast.values.names import NameRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

KEY_CHARS = 250
PARAM_CHARS = 6000
# A name must be a relative path, too: no empty part, no part "." or "..", and no ".." at its start.
PATH = r"\A/|/(?=/|\Z)|(?<![^/])\.(?=\.?(?:/|\Z))|\A\.(?=\.)"
KEY = rf"[^/\w.\- :]|{PATH}"
FILE = rf"[^/A-Za-z0-9_.\- ]|(?<![^/]) |{PATH}|{RESERVED}"  # a server takes a blank from a part's start


class MlflowTracker(Tracker):
    """One run, written through MlflowClient: the fluent functions keep a run for each thread."""

    name = "mlflow"
    variables = store.VARIABLES
    identities = frozenset(("run_id",))
    names: ClassVar[NameRule] = NameRule(rf"\As(?=ummary/)|{KEY}", KEY_CHARS - len(SUMMARY))
    param_names: ClassVar[NameRule] = NameRule(KEY, KEY_CHARS - len(PARAM))
    tag_names: ClassVar[NameRule] = NameRule(KEY, KEY_CHARS - len(LABEL))
    media_names: ClassVar[NameRule] = NameRule(FILE, 150)
    artifact_names: ClassVar[NameRule] = NameRule(rf"\A[im](?=(mages|edia)(/|\Z))|{FILE}", KEY_CHARS - len(ARTIFACT))
    max_param_chars = PARAM_CHARS
    time_resolution_s = 1.0  # milliseconds, and equal points of one millisecond lie one after another

    _tracked: TrackedRun
    _client: Client
    _run_id: str
    _files: RunFiles
    _database: Path | None
    _uri = ""
    _is_open = False

    def __init__(self) -> None:
        heed_retry_after()
        self._stamps: dict[tuple[str, int, str], int] = {}

    def setup(self, run: TrackedRun) -> None:
        self._tracked, self._uri = run, store.choose_store(run)
        store.prepare_store(self._uri, run)
        self._client, tags = Client(self._uri), store.own_tags(run)
        self._database = database_of(self._uri)
        found = store.find_or_begin(self._client, run, tags)
        is_ours = "run_id" in run.ids or "runcast.run_id" in found.data.tags
        is_theirs = run.options.get("keep_open") and run.options.get("run_id") == found.info.run_id
        if is_theirs or (found.info.status == "RUNNING" and not is_ours):
            run.join()
        self._run_id = found.info.run_id
        run.remember(run_id=self._run_id)
        self._files = RunFiles(self._client, found, run, set(strip(found.data.tags, ARTIFACT)))
        if found.info.status != "RUNNING" and not run.is_joined:
            self._client.update_run(self._run_id, "RUNNING")
        new = {key: value for key, value in tags.items() if key not in found.data.tags}
        self._tag({**new, "runcast.status": "running"})
        page = f"/#/experiments/{found.info.experiment_id}/runs/{self._run_id}" if self._uri.startswith("http") else ""
        run.url = public(self._uri).rstrip("/") + page
        self._is_open = True

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Store params; MLflow refuses another value for one, so the last value of a changed one is a tag."""
        texts = {key: str(value) for key, value in params.items()}
        stored = self._client.get_run(self._run_id).data
        room = int(os.environ.get("MLFLOW_MAX_LOG_PARAMS") or sys.maxsize) - len(stored.params)
        new = [Param(key, text) for key, text in texts.items() if key not in stored.params][: max(0, room)]
        old = {key: stored.tags.get(PARAM + key, text) for key, text in stored.params.items()}
        changed = {PARAM + key: text for key, text in texts.items() if old.get(key, text) != text}
        self._client.log_batch(self._run_id, params=new, tags=run_tags(changed))

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points; an exact repeat of one gets the next free millisecond, as it would vanish otherwise."""
        stamps, metrics = dict(self._stamps), []
        for point in points:
            same = identity_of(point)
            stamps[same] = max(int(point.time * 1000), stamps.get(same, -1) + 1)
            metrics.append(Metric(point.key, float(point.value), stamps[same], point.step))
        if self._database is not None:
            write_points(self._database, self._run_id, metrics)
        else:  # the newest first: so MLflow rewrites the latest value of a metric once, and not for each point
            self._client.log_batch(self._run_id, metrics=metrics[::-1])
        # Only now: a batch that failed comes again with the same stamps, so that what the store has of it stays single.
        newest = max((int(point.time * 1000) for point in points), default=0)
        self._stamps = {same: stamp for same, stamp in stamps.items() if stamp >= newest}

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Store each value exactly as a tag, and a number also as the metric `summary/<key>`, which MLflow sorts by."""
        texts = {key: json.dumps(value) for key, value in values.items()}
        fitting = {SUMMARY + key: text for key, text in texts.items() if len(text) <= store.TAG_CHARS}
        now = int(self._tracked.time * 1000)
        numbers = {key: float(value) for key, value in values.items() if not isinstance(value, str | bool)}
        metrics = [Metric(f"summary/{key}", value, now, 0) for key, value in numbers.items()]
        self._client.log_batch(self._run_id, metrics=metrics, tags=run_tags(fitting))
        if len(fitting) < len(texts):
            raise FinalError(f"A summary text has more than {store.TAG_CHARS} characters. Log it as an artifact.")

    def add_tags(self, tags: Sequence[str]) -> None:
        """Store each label as the tag `tag.<label>`, for MLflow's tags are pairs."""
        self._tag({LABEL + tag: "true" for tag in tags})

    def log_media(self, media: MediaFile) -> None:
        """Store an image as MLflow's own, anything else as a file in media/."""
        if not (media.kind == "image" and self._files.log_image(media)):
            name = f"media/{media.key.replace('/', '~')}+step+{media.step}{media.path.suffix}"
            self._files.upload(media.path, name)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Store a file or a folder under its name; a tag holds its kind."""
        self._files.upload_artifact(artifact)
        self._client.set_tag(self._run_id, ARTIFACT + artifact.name, artifact.kind)

    def finish(self, ending: Ending) -> None:
        """End the run, unless it was open before us; MLflow has no word for crashed, so a tag tells it from failed."""
        if not self._is_open:
            return
        error = {"runcast.error": ending.error[-store.TAG_CHARS :]} if ending.error else {}
        self._tag({"runcast.status": ending.status, **error})
        if not self._tracked.is_joined:
            self._client.set_terminated(self._run_id, STATUSES[ending.status], int(ending.ended_at * 1000))
        self._is_open = False

    def explain(self, error: Exception) -> TrackerError | None:
        return meaning(error, self._uri) or super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        self._uri = store.choose_store(run)
        return store.has_run(Client(self._uri), run.ids["run_id"]) if "run_id" in run.ids else None

    def read(self, run: TrackedRun) -> Reading:
        if run.foreign:
            return foreign.read_foreign(run)
        self._uri = store.choose_store(run)
        if "run_id" not in run.ids:
            return Reading()
        store.check_own_store(self._uri, run)
        reading = read_run(Client(self._uri), run)
        # The delivery reads after a cut: the repeat of a point that was stored must not fall on it.
        self._stamps = {identity_of(point): round(point.time * 1000) for point in reading.points}
        return reading

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return foreign.find_runs(place, folder)

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._client.log_batch(self._run_id, tags=run_tags(tags))
