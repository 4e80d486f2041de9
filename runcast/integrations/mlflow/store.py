"""Find or make the place of an MLflow run: a server or a store, an experiment in it, the run itself.

The SQLite store that all runs of a folder share is mlflow.db beside the run directories, with files in mlartifacts.
"""

import contextlib
import getpass
import json
import os
import sqlite3
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun
from runcast.integrations.mlflow.paths import SQLITE, location_of, path_of, remove_strays, uri_of
from runcast.integrations.mlflow.sdk import SERVER, public
from runcast.integrations.open_runs import absolute_uri
from runcast.journal.paths import argument

FILES = "mlartifacts"
TAG_CHARS = 8000
VARIABLES = {
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "run_id": "MLFLOW_RUN_ID",
    "experiment_id": "MLFLOW_EXPERIMENT_ID",
    "project": "MLFLOW_EXPERIMENT_NAME",
}
BUSY_S = 3.0


def choose_store(run: TrackedRun) -> str:
    """Return the tracking URI: a run stays where it began."""
    wanted = str(run.setting("tracking_uri") or "")
    may_go_online = run.online or ("tracking_uri" in run.options and "offline" not in run.given)
    if SERVER.match(wanted) and not may_go_online:
        wanted = ""
    wanted = absolute_uri(wanted)
    begun = run.ids.get("tracking_uri", "")
    if "run_id" in run.ids:  # a run that is in a file store was allowed to be
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    if public(wanted) != begun and ("run_id" in run.ids or not wanted):
        wanted = begun
    if SERVER.match(wanted) and not may_go_online:
        again = f"runcast sync {argument(run.directory)}"
        raise FinalError(f"The run is on {wanted} and cannot continue offline. Set MLFLOW_TRACKING_URI, then: {again}")
    return wanted or own_store(run)


def own_store(run: TrackedRun) -> str:
    """Return the URI of the store that all runs of a folder share."""
    return uri_of(run.directory.absolute().parent / "mlflow.db")


def prepare_store(uri: str, run: TrackedRun) -> None:
    """Remember which store it is, make our own if there is none, and see that a SQLite one is not locked.

    MLflow fails at one that is locked. Ours is created aside and moved into place when complete, so that no reader sees
    half a schema, even after a kill.
    """
    is_own = uri == own_store(run)
    run.remember(tracking_uri="" if is_own else public(uri))
    if not uri.startswith(SQLITE):
        return
    path = path_of(uri)
    if is_own and not path.exists():
        with run.scratch() as folder:
            new = Path(folder, path.name)
            MlflowClient(uri_of(new)).search_experiments(max_results=1)
            remove_strays(uri_of(new))
            put_in_place(new, path)
    if path.exists():
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as database:
            database.execute("select name from sqlite_master")
        if is_own:
            follow_move(uri)


def check_own_store(uri: str, run: TrackedRun) -> None:
    """See that our own store is still beside the run, and that its paths of files are right."""
    if uri != own_store(run):
        return
    if not path_of(uri).exists():
        again = f"runcast replay {argument(run.directory)} --to mlflow"
        raise FinalError(f"There is no mlflow.db beside {run.directory}. Deliver the run again with: {again}")
    follow_move(uri)


def put_in_place(new: Path, path: Path) -> None:
    """Move a file to where none is yet; of several that do so at once, the first wins."""
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links: the moment between the question and the move is short
        if not path.exists():
            os.replace(new, path)


def follow_move(uri: str) -> None:
    """Let our own store's absolute paths of files follow the folder of all runs, if that was moved."""
    path = path_of(uri)
    here, word = location_of(path.parent / FILES), f"/{FILES}"
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            moved = f"{column} like '/%{word}%' and substr({column}, 1, {len(here)}) <> ?"
            if database.execute(f"select 1 from {table} where {moved} limit 1", (here,)).fetchone():  # noqa: S608 - names of our own
                place = f"? || substr({column}, instr({column}, '{word}') + {len(word)})"
                database.execute(f"update {table} set {column} = {place} where {moved}", (here, here))  # noqa: S608


def find_or_begin(client: MlflowClient, run: TrackedRun, tags: dict[str, str]) -> Run:
    """Find the remembered run, or the one that the user joins; else begin one."""
    known = run.ids.get("run_id") or (None if run.replaces else run.setting("run_id"))
    found = client.get_run(known) if known else _begin(client, run, tags)
    remove_strays(client.tracking_uri)
    return found


def has_run(client: MlflowClient, run_id: str) -> bool:
    """Return whether a store has a run, and not in its bin."""
    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _begin(client: MlflowClient, run: TrackedRun, tags: dict[str, str]) -> Run:
    """Create the run, or find it if an earlier attempt did and could not remember it."""
    experiment, created = _choose_experiment(client, run), int(run.created * 1000)
    same = f"tags.`runcast.run_id` = '{run.id}' and attributes.start_time = {created}"
    found = client.search_runs([experiment], same, max_results=1)
    tags = {**tags, "runcast.replaces": run.replaces} if run.replaces else tags
    return found[0] if found else client.create_run(experiment, created, tags, run.options.get("run_name", run.name))


def _choose_experiment(client: MlflowClient, run: TrackedRun) -> str:
    name = run.options.get("experiment_name")
    is_named = name or "project" in run.given
    if not is_named and (experiment := run.setting("experiment_id")):
        return str(experiment)
    name = name or run.setting("project")
    found = client.get_experiment_by_name(name)
    if found is None:
        files = location_of(run.directory.absolute().parent / FILES)
        try:
            return str(client.create_experiment(name, files if client.tracking_uri == own_store(run) else None))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # a parallel run was faster
    if found.lifecycle_stage != "active":
        restore = f"mlflow experiments restore -x {found.experiment_id}"
        raise FinalError(f"The experiment {name!r} was deleted from MLflow. Choose another project, or: {restore}")
    return str(found.experiment_id)


def own_tags(run: TrackedRun) -> dict[str, str]:
    """List the initial tags of a run: the user's own, and those that MLflow or `runcast` look for."""
    try:
        own = run.options.get("tags") or json.loads(os.environ.get("MLFLOW_TAGS") or "{}")
        tags = {str(key): str(value) for key, value in own.items()}
    except (ValueError, AttributeError):
        raise FinalError(
            """MLFLOW_TAGS is not a JSON object. Write it like this: MLFLOW_TAGS='{"team": "vision"}'"""
        ) from None
    with contextlib.suppress(ImportError, KeyError, OSError):
        tags["mlflow.user"] = getpass.getuser()
    if run.script:
        tags |= {"mlflow.source.name": run.script, "mlflow.source.type": "LOCAL"}
    if (at := run.source) is not None:
        named = {"commit": at.commit, "branch": at.branch or "", "repoURL": at.remote or ""}
        tags |= {f"mlflow.source.git.{name}": value for name, value in named.items()}
    parent = run.options.get("parent_run_id")
    tags |= {"runcast.run_id": run.id, "runcast.group": run.group or "", "mlflow.note.content": run.notes or ""}
    return {key: value[:TAG_CHARS] for key, value in {**tags, "mlflow.parentRunId": parent or ""}.items() if value}
