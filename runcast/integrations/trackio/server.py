"""A project of Trackio on a server or in a Space, and which of the places a run is in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
from gradio_client import handle_file
from trackio import cas, deploy
from trackio.remote_client import RemoteClient, _TrackioHTTPClient
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import parse_trackio_server_url, serialize_values

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun
from runcast.integrations.trackio.sdk import Row, Store

FOLDER = "trackio"
PROJECT_CHARS = 100
TIMEOUT_S = 20
VARIABLES: Mapping[str, str] = {
    "dir": "TRACKIO_DIR",
    "space_id": "TRACKIO_SPACE_ID",
    "server_url": "TRACKIO_SERVER_URL",
    "write_token": "TRACKIO_WRITE_TOKEN",
    "bucket_id": "TRACKIO_BUCKET_ID",
}


class ServerError(Exception):
    """A refusal by a server."""


def open_store(run: TrackedRun) -> Store:
    """Return where a run is, or will be."""
    anew = f"{run.id}-anew-{run.generation}" if run.generation > 1 else run.id
    own = (run.ids.get("project") or _project(run), run.ids.get("id") or anew, str(run.setting("name")), run.created)
    wanted, begun = str(run.setting("space_id") or run.setting("server_url") or ""), run.ids.get("server")
    where = wanted if not begun or _public(wanted) == begun else begun  # a run stays where it began
    if run.online and where:
        return Server(*(_on_server(run, where) if "://" in where else _in_space(run, where)), *own)
    given = run.ids.get("folder", run.setting("dir") or "")
    root = Path(given) if given else run.directory.absolute().parent / FOLDER
    return Store(root.absolute(), given and str(root.absolute()), *own)


def _project(run: TrackedRun) -> str:
    wanted = str(run.setting("project"))[:PROJECT_CHARS]
    try:
        SQLiteStorage.validate_project_name(wanted)
    except ValueError:
        return f"runs-{wanted}-runs" if wanted.startswith("registry-") else f"{wanted}-runs"
    return wanted


def _public(where: str) -> str:
    """Return a place without its token."""
    return str(parse_trackio_server_url(where)[0]) if "://" in where else where


def _on_server(run: TrackedRun, address: str) -> tuple[str, Any, str | None]:
    server, token = parse_trackio_server_url(address)
    token = token or run.setting("write_token")
    if not token:
        raise FinalError(f"{server} needs a write token. Set TRACKIO_WRITE_TOKEN to what trackio.show() prints.")
    return server, _TrackioHTTPClient(server, None, token, {"timeout": TIMEOUT_S}), None


def _in_space(run: TrackedRun, space: str) -> tuple[str, Any, str | None]:
    token = huggingface_hub.get_token()
    deploy.create_space_if_not_exists(space, None, run.setting("bucket_id"), run.options.get("private"))
    return space, RemoteClient(space, token), token


class Server(Store):
    """One run in a project of a server, which takes a row again without doubling it."""

    def __init__(self, server: str, client: Any, token: str | None, *about: Any) -> None:
        super().__init__(Path(), "", *about)
        self.server, self._client, self._token = server, client, token

    @property
    def url(self) -> str:
        """The web address of the project."""
        base = self.server if "://" in self.server else f"https://huggingface.co/spaces/{self.server}"
        return f"{base.rstrip('/')}/?project={self.project}"

    @property
    def media(self) -> None:
        """Media are elsewhere."""

    def _query(self, sql: str) -> list[dict[str, Any]]:
        try:
            return list(self._call("/query_project", project=self.project, query=sql)["rows"])
        except ServerError as error:
            if "not found" in str(error):
                return []
            raise

    def keep(self, path: Path, step: int) -> str:
        """Upload a media file; return its path on the server."""
        about = {
            "project": self.project,
            "run": self.run_id,
            "run_id": self.run_id,
            "step": step,
            "relative_path": None,
        }
        self._write("/bulk_upload_media", uploads=[{**about, "uploaded_file": handle_file(path)}])
        return self._kept(path, step)

    def blob(self, digest: str) -> None:
        """Files of artifacts are elsewhere."""

    def _log(self, rows: Sequence[Row], ids: list[str], config: dict[str, Any] | None) -> None:
        entries = [
            {
                "project": self.project,
                "run": self.name,
                "run_id": self.run_id,
                "metrics": serialize_values(row.values),
                "step": row.step,
                "config": serialize_values(config) if config is not None else None,
                "log_id": log_id,
            }
            for row, log_id in zip(rows, ids, strict=True)
        ]
        self._write("/bulk_log", logs=entries)

    def alert(self, entry: dict[str, Any]) -> None:
        """Store an alert; one that is stored already stays single."""
        about = {"project": self.project, "run": self.name, "run_id": self.run_id}
        self._write("/bulk_alert", alerts=[{**about, **entry}])

    def _commit(self, artifact: Any) -> None:
        manifest, uploads = [], []
        for path, logical in artifact._pending_files:
            digest, size = cas.hash_file(Path(path))
            manifest.append({"path": logical, "digest": digest, "size": size})
            uploads.append({"project": self.project, "digest": digest, "uploaded_file": handle_file(path)})
        self._write("/bulk_upload_artifact_blob", project=self.project, uploads=uploads)
        about = {"name": artifact.name, "type": artifact.type, "description": None, "metadata": None, "aliases": None}
        run = {"run_name": self.name, "run_id": self.run_id}
        self._write("/artifact_log", project=self.project, manifest=manifest, **about, **run)

    def _write(self, call: str, **arguments: Any) -> Any:
        return self._call(call, **arguments, hf_token=self._token)

    def _call(self, call: str, **arguments: Any) -> Any:
        try:
            return self._client.predict(api_name=call, **arguments)
        except RuntimeError as error:
            raise ServerError(str(error)) from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 400 or "not found" in error.response.text:
                raise ServerError(error.response.text) from error
            raise
