"""A project of Trackio on this machine, written with its own storage class, which also its Run writes with.

`trackio.Run` cannot be used for it: it logs from a thread that swallows what goes wrong, takes the times of the
delivery, ends the script's own run, and watches the machine. Seen in trackio 0.43.0, 2026-11-30.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from trackio import Artifact, cas, sqlite_storage, utils
from trackio.sqlite_storage import SQLiteStorage

from runcast.integrations.files import link


class Row(NamedTuple):
    """What is logged at once: values by name, at a step and a time."""

    values: dict[str, Any]
    step: int
    time: float


class Store:
    """One run in the database of a project, in a folder that need not be the one that this process began with."""

    server = ""

    def __init__(self, root: Path, folder: str, project: str, run_id: str, name: str, created: float) -> None:
        self._root, self.folder, self._created = root, folder, created
        self.project, self.run_id, self.name = project, run_id, name

    @property
    def url(self) -> str:
        """The database's path."""
        return str(self._root / SQLiteStorage.get_project_db_filename(self.project))

    @property
    def media(self) -> Path | None:
        """The folder below which media are, if it is on this machine."""
        return self._root / "media"

    def log(self, rows: Sequence[Row]) -> None:
        """Store rows: all of them, or none."""
        self._log(rows, [uuid.uuid4().hex for _ in rows], None)

    def configure(self, config: Mapping[str, Any]) -> None:
        """Store the config; an empty row makes the run one that is listed."""
        self._log([Row({}, 0, self._created)], [f"{self.run_id}-begins"], dict(config))

    def query(self, sql: str, **values: str) -> list[dict[str, Any]]:
        """Read up to 10,000 rows; `$run` is the run's id, other names with `$` are *values*."""
        for name, value in {"run": self.run_id, **values}.items():
            sql = sql.replace(f"${name}", "'" + value.replace("'", "''") + "'")
        return self._query(sql)

    def keep(self, path: Path, step: int) -> str:
        """Put a media file into Trackio's folder; return its path there."""
        kept = self._kept(path, step)
        link(path, self._root / "media" / kept)
        return kept

    def log_artifact(self, name: str, kind: str, path: Path) -> None:
        """Store a file or a folder."""
        known = self.query("SELECT type FROM artifacts WHERE name = $name", name=name)
        artifact = Artifact(name, known[0]["type"] if known else kind)
        (artifact.add_dir if path.is_dir() else artifact.add_file)(path)
        self._commit(artifact)

    def alert(self, entry: dict[str, Any]) -> None:
        """Store an alert; one that is stored already stays single."""
        with self._here():
            columns = {f"{name}s": [value] for name, value in entry.items()}
            SQLiteStorage.bulk_alert(self.project, self.name, run_id=self.run_id, **columns)

    def blob(self, digest: str) -> Path | None:
        """Return where the content of a file of an artifact is, if it is on this machine."""
        with self._here():
            return Path(cas.blob_path(self.project, digest))

    def _query(self, sql: str) -> list[dict[str, Any]]:
        with self._here():
            try:
                return list(SQLiteStorage.query_project(self.project, sql)["rows"])
            except FileNotFoundError:
                return []

    def _kept(self, path: Path, step: int) -> str:
        return f"{utils.canonical_project_name(self.project)}/{self.run_id}/{step}/{path.name}"

    def _log(self, rows: Sequence[Row], ids: list[str], config: dict[str, Any] | None) -> None:
        with self._here():
            values, steps = [row.values for row in rows], [row.step for row in rows]
            times = [datetime.fromtimestamp(row.time, timezone.utc).isoformat() for row in rows]
            SQLiteStorage.bulk_log(self.project, self.name, values, steps, times, config, ids, run_id=self.run_id)

    def _commit(self, artifact: Any) -> None:
        with self._here():
            manifest, about = artifact._build_manifest(self.project), (artifact.name, artifact.type, None)
            SQLiteStorage.commit_artifact_version(self.project, *about, manifest, None, None, self.name, self.run_id)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        """Let Trackio use this folder, not the one that it has read from the environment; and no bucket."""
        ours = {"TRACKIO_DIR": self._root, "MEDIA_DIR": self._root / "media", "ARTIFACTS_DIR": self._root / "artifacts"}
        theirs = {name: getattr(utils, name) for name in ours}
        attempted, SQLiteStorage._dataset_import_attempted = SQLiteStorage._dataset_import_attempted, True
        vars(utils).update(ours)
        sqlite_storage.TRACKIO_DIR = self._root
        try:
            yield
        finally:
            vars(utils).update(theirs)
            sqlite_storage.TRACKIO_DIR = theirs["TRACKIO_DIR"]
            SQLiteStorage._dataset_import_attempted = attempted
