"""Write runs into one SQLite database beside them, to be compared with SQL.

    sqlite3 runs/runs.sqlite "SELECT run, max(value) FROM points WHERE key = 'eval/accuracy' GROUP BY run"

Needs: Python's own sqlite3.
Writes: `runs/runs.sqlite`, or `setup={"sqlite": {"path": …}}`, or RUNCAST_SQLITE_PATH.
Drops: media, artifacts.
Limits: none.

Run its check with: PYTHONPATH=examples/third_party_tracker python -m runcast.testing runcast_sqlite:SqliteTracker out
"""

import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from runcast import Ending, FinalError, Point, Reading, RetryableError, TrackedRun, Tracker, TrackerError

WAIT_S = 5.0  # how long to wait for another run that writes; after that the delivery tries again
TABLES = """
CREATE TABLE IF NOT EXISTS runs (run PRIMARY KEY, name, project, status, error, started, ended);
CREATE TABLE IF NOT EXISTS points (run, key, step, value, time);
CREATE INDEX IF NOT EXISTS points_by_key ON points (run, key, step);
CREATE TABLE IF NOT EXISTS params (run, key, value, PRIMARY KEY (run, key));
CREATE TABLE IF NOT EXISTS summary (run, key, value, PRIMARY KEY (run, key));
CREATE TABLE IF NOT EXISTS tags (run, tag, PRIMARY KEY (run, tag));
"""


class SqliteTracker(Tracker):
    """A row for each run and each value. Every call is one transaction: it is there, or it is not."""

    name = "sqlite"
    variables: ClassVar[Mapping[str, str]] = {"path": "RUNCAST_SQLITE_PATH"}

    def __init__(self) -> None:
        self._run = ""
        self._path: Path | None = None

    def setup(self, run: TrackedRun) -> None:
        """Make the tables and the run's row, or find them."""
        self._run, self._path = run.id, database_of(run)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        run.url = str(self._path)
        with self._writing() as database:
            database.executescript(TABLES)
            database.execute("INSERT OR IGNORE INTO runs (run, started) VALUES (?, ?)", (run.id, run.created))
            row = (run.name, run.project, "running", run.id)
            database.execute(
                "UPDATE runs SET name = ?, project = ?, status = ?, error = NULL, ended = NULL WHERE run = ?", row
            )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Store each as JSON, so that 1 and "1" stay two things."""
        self._replace("params", params)

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points; SQLite would make NULL of NaN, so that is a text."""
        rows = [(self._run, p.key, p.step, "NaN" if math.isnan(p.value) else p.value, p.time) for p in points]
        with self._writing() as database:
            database.executemany("INSERT INTO points VALUES (?, ?, ?, ?, ?)", rows)

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Store each as JSON."""
        self._replace("summary", values)

    def add_tags(self, tags: Sequence[str]) -> None:
        """Store tags, each once."""
        with self._writing() as database:
            database.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", [(self._run, tag) for tag in tags])

    def finish(self, ending: Ending) -> None:
        """Write the status, once."""
        if self._path is not None:
            row = (ending.status, ending.error, ending.ended_at, self._run)
            with self._writing() as database:
                database.execute("UPDATE runs SET status = ?, error = ?, ended = ? WHERE run = ?", row)
            self._path = None

    def explain(self, error: Exception) -> TrackerError | None:
        """Say which errors will pass: a database that is locked, and a full disk."""
        if isinstance(error, sqlite3.Error):
            kind = RetryableError if isinstance(error, sqlite3.OperationalError) else FinalError
            return kind(f"{self._path}: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool:
        """Return whether the database has the run's row."""
        if not database_of(run).exists():
            return False
        with sqlite3.connect(f"file:{database_of(run)}?mode=ro", uri=True, timeout=WAIT_S) as database:
            return bool(database.execute("SELECT 1 FROM runs WHERE run = ?", (run.id,)).fetchone())

    def read(self, run: TrackedRun) -> Reading:
        """Read the run back."""
        with sqlite3.connect(f"file:{database_of(run)}?mode=ro", uri=True, timeout=WAIT_S) as database:

            def rows(columns: str, table: str) -> list[Any]:
                return database.execute(f"SELECT {columns} FROM {table} WHERE run = ?", (run.id,)).fetchall()

            name, status, started, ended = rows("name, status, started, ended", "runs")[0]
            points = [
                Point(k, math.nan if v == "NaN" else v, s, t) for k, v, s, t in rows("key, value, step, time", "points")
            ]
            return Reading(
                points=points,
                params={key: json.loads(value) for key, value in rows("key, value", "params")},
                summary={key: json.loads(value) for key, value in rows("key, value", "summary")},
                tags={tag for (tag,) in rows("tag", "tags")},
                status=status,
                started_at=started,
                ended_at=ended,
                name=name,
            )

    def _replace(self, table: str, values: Mapping[str, Any]) -> None:
        rows = [(self._run, key, json.dumps(value)) for key, value in values.items()]
        with self._writing() as database:
            database.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", rows)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open the database for one transaction."""
        assert self._path is not None
        with closing(sqlite3.connect(self._path, timeout=WAIT_S)) as database, database:
            yield database


def database_of(run: TrackedRun) -> Path:
    """Return where the database lies."""
    return Path(run.setting("path") or run.directory.parent / "runs.sqlite")
