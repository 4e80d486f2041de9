"""Find and read the runs of an MLflow store, whoever wrote them: an SQLite file, a folder `mlruns`, or a server.

Runs that were deleted are passed by. A nested run is in the group of the one around it. MLflow keeps absolute paths of
files: of a store that was moved, those in the folder itself are found. Seen in mlflow 3.17.2, 2026-12-01.
"""

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.mlflow.paths import SQLITE, local_folder, path_of, uri_of
from runcast.integrations.mlflow.reader import MEDIA_PATH, THUMBNAIL, point_of
from runcast.integrations.tracked_run import found_run
from runcast.journal.layout import Source
from runcast.values.points import PointList

STATUSES: dict[str, Any] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
IMAGES = "images"
STAMP = re.compile(r"[+%]timestamp[+%](\d+)")
GIT = "mlflow.source.git."


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the runs of every store that a path or an address means."""
    for uri, root in _stores(place):
        client = MlflowClient(uri)
        for experiment in _pages(client.search_experiments):
            runs = {run.info.run_id: run for run in _pages(client.search_runs, [experiment.experiment_id])}
            for run in sorted(runs.values(), key=lambda run: run.info.start_time or 0):
                yield _found(run, runs, experiment.name, uri, root, scratch)


def _stores(place: str) -> Iterator[tuple[str, Path | None]]:
    """Yield the tracking URIs that a place means, each with the folder of a store that is one."""
    is_address = "://" in place and not place.startswith((SQLITE, "file:"))
    if is_address:
        yield place, None
        return
    path = path_of(place) if place.startswith(SQLITE) else local_folder(place) or Path(place)
    names = [path] if path.is_file() else [file for name in ("*.db", "*.sqlite*") for file in path.rglob(name)]
    files = sorted(file.resolve() for file in names if _is_store(file))
    yield from ((uri_of(file), None) for file in files)
    metas = [meta for meta in path.rglob("meta.yaml") if b"artifact_location" in meta.read_bytes()]
    folders = sorted({meta.parent.parent.resolve() for meta in metas})
    if folders:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    yield from ((str(folder), folder) for folder in folders)
    if not files and not folders:
        raise FinalError(f"{place} holds no store of MLflow.")


def _is_store(file: Path) -> bool:
    """Return whether an SQLite file is one of MLflow's, which would make its tables in any other one."""
    address = f"{file.absolute().as_uri()}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(address, uri=True)) as database:
        return bool(database.execute("select 1 from sqlite_master where name = 'experiments'").fetchone())
    return False


def _pages(search: Any, *arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        if not (token := page.token):
            return


def _found(run: Run, runs: dict[str, Run], project: str, uri: str, root: Path | None, scratch: Path) -> TrackedRun:
    info, tags = run.info, run.data.tags
    around = runs.get(tags.get("mlflow.parentRunId", ""))
    commit = tags.get(f"{GIT}commit")
    branch, remote = tags.get(f"{GIT}branch"), tags.get(f"{GIT}repoURL")
    is_ours = "runcast.run_id" in tags
    ids = {"run_id": info.run_id, "tracking_uri": uri, "root": str(root or "")}
    return found_run(
        info.run_id,
        info.run_name or info.run_id,
        project,
        scratch,
        foreign=not is_ours,
        created=(info.start_time or 0) / 1000,
        group=around.info.run_name if around is not None else None,
        script=tags.get("mlflow.source.name", ""),
        source=Source(commit=commit, branch=branch, remote=remote) if commit else None,
        ids={**ids, **({"runcast": tags["runcast.run_id"]} if is_ours else {})},
    )


def read_foreign(run: TrackedRun) -> Reading:
    """Read all of a run that other code wrote."""
    client = MlflowClient(run.ids["tracking_uri"])
    found = client.get_run(run.ids["run_id"])
    info, tags = found.info, found.data.tags
    labels = {key: value for key, value in tags.items() if not key.startswith("mlflow.")}
    reading = Reading(
        points=PointList(
            point_of(metric)
            for key in sorted(found.data.metrics)
            for metric in client.get_metric_history(info.run_id, key)
        ),
        params=dict(found.data.params),
        tags={key if value in ("", "true", "True") else f"{key}={value}" for key, value in labels.items()},
        status=STATUSES.get(info.status, "running"),
        started_at=info.start_time / 1000 if info.start_time else None,
        ended_at=info.end_time / 1000 if info.end_time else None,
        name=info.run_name,
        notes=tags.get("mlflow.note.content"),
    )
    _add_files(reading, client, found, run)
    return reading


def _add_files(reading: Reading, client: MlflowClient, found: Run, run: TrackedRun) -> None:
    """Add what lies in the folder of the run's files: images at a step are media, everything else is an artifact."""
    try:
        folder = _files_of(client, found, run)
    except (MlflowException, OSError) as error:
        reading.left_out["artifacts"] = f"are files that cannot be read: {error}"
        return
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        rest = sorted(path.rglob("*")) if path.name == IMAGES and path.is_dir() else [path]
        for file in rest:
            match = MEDIA_PATH.match(file.relative_to(folder).as_posix()) if path.name == IMAGES else None
            if match is None:
                if file.is_file() or path.name != IMAGES:
                    reading.contents[file.relative_to(folder).as_posix()] = file
            elif not THUMBNAIL.search(file.stem + file.suffix):
                stamp = STAMP.search(file.name)
                moment = int(stamp[1]) / 1000 if stamp else 0.0
                reading.keep(re.sub("[~#]", "/", match[1]), int(match[2]), file, moment)


def _files_of(client: MlflowClient, found: Run, run: TrackedRun) -> Path | None:
    """Return the folder of a run's files: where MLflow says, where they are if the store was moved, or downloaded."""
    said = local_folder(found.info.artifact_uri)
    if said is not None and said.is_dir():
        return said
    if run.ids["root"]:
        return Path(run.ids["root"], found.info.experiment_id, found.info.run_id, "artifacts")
    if said is not None or not client.list_artifacts(found.info.run_id):
        return None
    return Path(client.download_artifacts(found.info.run_id, "", str(run.local)))
