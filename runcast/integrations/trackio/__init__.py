"""Write runs to Trackio.

Needs: trackio 0.43 or newer, tested with 0.43.0.
Writes: one SQLite file for each project, with media and artifacts beside it, in the folder `trackio` beside the run
    directories, or where TRACKIO_DIR says: one place for all runs, because people open Trackio to compare them. With
    TRACKIO_SERVER_URL and its write token, a self-hosted server; with TRACKIO_SPACE_ID, a Space of Hugging Face, which
    is not tested. A run that the script has opened itself is left alone. Each batch is one transaction. Final values,
    tags, notes, the status and the end of the run are in its config, under `runcast/`. An alert is one of Trackio's,
    and a text. A deleted run is recreated under another id.
Drops: captions of texts, tables and histograms; empty folders; on a server the times of points, which are those of the
    delivery. Trackio's dashboard knows no status. Its artifacts belong to the project: those of one name have the type
    of the first.
Limits: the constants below, read in trackio 0.43.0 (utils.py, cas.py, sqlite_storage.py) on 2026-11-30. Steps and
    integers have 64 bits. A project's name that Trackio keeps for itself (`model_system`) gets `-runs` at its end.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import httpx
from trackio.utils import RESERVED_KEYS

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.payloads import rows_of
from runcast.integrations.trackio import foreign, reader
from runcast.integrations.trackio.media import alert_entry, content
from runcast.integrations.trackio.sdk import Row, Store
from runcast.integrations.trackio.server import VARIABLES, ServerError, open_store
from runcast.values.names import NameRule
from runcast.values.points import Point
from runcast.values.scalars import INTS, Number, ParamValue


class TrackioTracker(Tracker):
    """One run in a project's database, on this machine or on a server."""

    name = "trackio"
    variables = VARIABLES
    identities = frozenset(("id", "server"))
    names = NameRule(r"\A_(?=_)", reserved=frozenset(RESERVED_KEYS))
    param_names = NameRule(r"\Ar(?=uncast/)", reserved=reader.ABOUT)
    artifact_names = NameRule(r"[^A-Za-z0-9._-]", max_length=128)

    _store: Store | None = None
    _has_begun = False

    def setup(self, run: TrackedRun) -> None:
        if self._store is not None:
            return
        store = open_store(run)
        run.remember(id=store.run_id, server=store.server, project=store.project, folder=store.folder)
        self._config = reader.read_config(store)
        begun = datetime.fromtimestamp(run.created, timezone.utc).isoformat()
        ours = {"_Username": None, "_Group": run.setting("group"), "_Created": begun, reader.STATUS: "running"}
        given = {reader.NOTES: run.setting("notes"), reader.REPLACES: run.replaces}
        self._config |= ours | {key: value for key, value in given.items() if value}
        self._store, self._has_begun, run.url = store, False, store.url
        self.add_tags(run.words("tags"))
        self._has_begun = True

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._configure(_storable(params))

    def log_metrics(self, points: Sequence[Point]) -> None:
        if far := [point for point in points if point.step not in INTS]:
            raise FinalError("Trackio holds no step of more than 64 bits.", far)
        self._stop_if_gone()
        self._open.log([Row(_storable(row), step, moment) for row, step, moment in rows_of(points)])

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._configure({reader.SUMMARY + key: value for key, value in _storable(values).items()})

    def add_tags(self, tags: Sequence[str]) -> None:
        self._configure({reader.TAGS: list(dict.fromkeys((*self._config.get(reader.TAGS, ()), *tags)))})

    def log_media(self, media: MediaFile) -> None:
        value = content(media, lambda path: self._open.keep(path, media.step))
        self._stop_if_gone()
        self._open.log([Row({media.key: value}, media.step, media.time)])
        if alert := media.alert():
            self._open.alert(alert_entry(alert, media))

    def log_artifact(self, artifact: ArtifactFile) -> None:
        self._open.log_artifact(artifact.name, artifact.kind, artifact.path)

    def finish(self, ending: Ending) -> None:
        if self._store is None:
            return
        error = {reader.ERROR: ending.error} if ending.error else {}
        self._configure({**error, reader.STATUS: ending.status, reader.ENDED: ending.ended_at})
        self._store = None

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, httpx.HTTPStatusError):
            status, wait = error.response.status_code, error.response.headers.get("retry-after", "")
            if status == 429 or status >= 500:
                return RetryableError(f"Trackio's server: {error}", float(wait) if wait.isdecimal() else None)
            return FinalError(f"Trackio's server: {error}")
        if isinstance(error, httpx.RequestError | sqlite3.OperationalError):
            return RetryableError(f"Trackio: {error}")
        if isinstance(error, ServerError | ValueError | TypeError | OverflowError | sqlite3.Error):
            return FinalError(f"Trackio: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        return "id" in run.ids and reader.has_run(open_store(run))

    def read(self, run: TrackedRun) -> Reading:
        return foreign.read_found(run) if "database" in run.ids else reader.read_run(open_store(run))

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return foreign.find_runs(place, folder)

    @property
    def _open(self) -> Store:
        assert self._store is not None
        return self._store

    def _stop_if_gone(self) -> None:
        """Write nothing more of a run that was deleted: Trackio would list it again, with the rest of its points."""
        if self._has_begun and not reader.has_run(self._open):
            raise GoneError("Trackio no longer has the run.")

    def _configure(self, values: Mapping[str, Any]) -> None:
        self._stop_if_gone()
        self._config.update(values)
        self._open.configure(self._config)


def _storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with integers of more than 64 bits as floats."""
    return {key: float(v) if isinstance(v, int) and v not in INTS else v for key, v in values.items()}
