"""Find the runs of Trackio in the databases of projects on this machine, whoever wrote them.

Seen in trackio 0.43.0, 2026-12-01.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from runcast.core.errors import RuncastError
from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.tracked_run import found_run
from runcast.integrations.trackio.reader import STATUS, read_rows, read_run
from runcast.integrations.trackio.sdk import Store
from runcast.values.media.kinds import Table

RUNS = (
    "select m.run_id, max(m.run_name), c.config from metrics m left join configs c on c.run_id = m.run_id "
    "group by m.run_id order by min(m.id)"
)


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the runs of a database, or of all databases in a folder."""
    path = Path(place).resolve()
    for database in [path] if path.is_file() else sorted(path.rglob("*.db")):
        with contextlib.suppress(sqlite3.Error):  # it is of another program
            address = f"{database.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as opened:
                rows = opened.execute(RUNS).fetchall()
            for run_id, name, config in rows:
                is_ours = STATUS in json.loads(config or "{}")
                ids = {"id": run_id, "database": str(database), "runcast": run_id if is_ours else ""}
                identity = f"{database.stem}-{run_id}"
                yield found_run(identity, name, database.stem, scratch, foreign=not is_ours, ids=ids)


def read_found(run: TrackedRun) -> Reading:
    """Read all of a run."""
    database = Path(run.ids["database"])
    store = Store(database.parent, "", database.stem, run.ids["id"], run.name, run.created)
    reading = read_run(store)
    for row, moment in read_rows(store):
        for key, value in json.loads(row["metrics"]).items():
            if not isinstance(value, dict):
                continue
            if (path := reading.contents.pop((key, row["step"]), None)) is not None:
                reading.keep(key, row["step"], path, moment)
            elif isinstance(rows := value.get("_value"), list):
                try:
                    path = Table(rows).save(run.local, f"{len(reading.contents):08d}")
                except RuncastError as error:
                    reading.left_out[key] = f"is a table that cannot be read: {error}"
                else:
                    reading.keep(key, row["step"], path, moment)
            else:
                reading.left_out[key] = f"is Trackio's {value.get('_type', 'mapping')}, which is not read"
    return reading
