"""Points that are written straight into an SQLite store lie there as MLflow itself would have written them."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Both runs get the same batches: one by the store of MLflow, one by ours. `told` is what each table then says of each.
SCRIPT = """
import json, sqlite3, sys
from mlflow import MlflowClient
from mlflow.entities import Metric
from runcast.integrations.mlflow.points import database_of, write_points
path = sys.argv[1]
client = MlflowClient(f"sqlite:///{path}")
inf, nan = float("inf"), float("nan")
batches = [
    [Metric("loss", 0.5, 1000, 1), Metric("loss", 0.25, 1000, 2), Metric("acc", 1.0, 1000, 0)],
    [Metric("loss", 0.125, 999, 2), Metric("loss", 0.75, 2000, 0), Metric("loss", 0.3, 1001, 2)],
    [Metric("loss", 0.3, 1001, 2), Metric("loss", 0.31, 1001, 2), Metric("loss", 0.29, 1001, 2)],
    [Metric("odd", value, 5, step) for step, value in enumerate((nan, nan, inf, -inf, 1e308, -0.0, 2.0**60))],
    [Metric("odd", nan, 7, 7), Metric("odd", nan, 7, 7), Metric("nan", nan, 1, 1), Metric("nan", -1.0, 1, 1)],
    [Metric("far", 1.0, 2**53, 2**63 - 1), Metric("far", 2.0, 0, -(2**63)), Metric("größe/a b", 1 / 3, 0, 0)],
    [],
]
experiment = client.create_experiment("one")
told = {}
for name in ("theirs", "ours"):
    run = client.create_run(experiment).info.run_id
    for batch in batches:
        if name == "ours":
            write_points(database_of(f"sqlite:///{path}"), run, batch)
        else:
            client.log_batch(run, metrics=batch)
    with sqlite3.connect(path) as database:
        ask = "select key, step, timestamp, cast(value as text), typeof(value), is_nan from {} where run_uuid = ?"
        told[name] = {
            table: sorted(database.execute(ask.format(table), (run,)).fetchall())
            for table in ("metrics", "latest_metrics")
        }
    told[name]["seen"] = {key: str(value) for key, value in client.get_run(run).data.metrics.items()}
    told[name]["history"] = [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run, "loss")]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write the same in both ways into a new store; return what each left, and the store's path."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    environment = {**os.environ, "HOME": str(path.parent), "MLFLOW_DISABLE_TELEMETRY": "true"}
    answer = subprocess.run([sys.executable, "-c", SCRIPT, str(path)], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return {**json.loads(answer.stdout.splitlines()[-1]), "path": path}


def test_both_ways_leave_the_same(told: dict[str, Any]) -> None:
    """Row by row, in both tables, and as MLflow's own client reads it."""
    assert told["ours"] == told["theirs"]
    assert len(told["ours"]["metrics"]) == 21  # 23, and two of them repeated
    latest = {key: (step, timestamp, value) for key, step, timestamp, value, _, _ in told["ours"]["latest_metrics"]}
    assert latest["loss"] == (2, 1001, "0.31")
    assert latest["acc"] == (0, 1000, "1.0")
    assert told["ours"]["seen"]["nan"] == "nan"  # stored as 0, which is more than -1


def ask(code: str, path: Path) -> str:
    """Run a line of code with the module in a process of its own; return what it printed."""
    whole = f"import sys; from runcast.integrations.mlflow.points import *; {code}"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    answer = subprocess.run([sys.executable, "-c", whole, str(path)], env=environment, capture_output=True, text=True)
    return (answer.stdout + answer.stderr).strip().splitlines()[-1]


def test_another_schema_is_left_to_mlflow(told: dict[str, Any], tmp_path: Path) -> None:
    """As one of a later version may be; so are another database and a store that is not there."""
    path = shutil.copy(told["path"], tmp_path / "later.db")
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("alter table metrics add column unit varchar")
    code = "print([database_of(f'sqlite:///{sys.argv[1]}'), database_of('postgresql://host/db'), "
    code += "database_of('sqlite:///no.db'), database_of('sqlite://')])"

    assert ask(code, Path(path)) == "[None, None, None, None]"


def test_a_deleted_run_is_gone(told: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is written into the bin, and the delivery learns why."""
    path = shutil.copy(told["path"], tmp_path / "mlflow.db")
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("update runs set lifecycle_stage = 'deleted'")
        (run,) = database.execute("select run_uuid from runs limit 1").fetchone()
    code = f"write_points(Path(sys.argv[1]), '{run}', [Metric('late', 1.0, 0, 0)])"

    assert "GoneError: the run" in ask(code, Path(path))
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("select count(*) from metrics where key = 'late'").fetchone() == (0,)
