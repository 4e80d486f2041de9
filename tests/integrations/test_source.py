"""What the services' own pages show of the script that was started."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

SCRIPT = """
import runcast

run = runcast.init(report_to=["mlflow", "comet_ml", "clearml"], notes="a first try", name="first")
run.log({"loss": 0.5}, step=0)
assert run.finish()
"""


def test_a_run_shows_the_script_that_was_started(tmp_path: Path) -> None:
    """MLflow's source, Comet's file name and ClearML's entry point, as those services' own stores and files have them."""
    (tmp_path / "train.py").write_text(SCRIPT)

    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-3000:]
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as database:
        tags = dict(database.execute("SELECT key, value FROM tags"))
        name, seconds = database.execute("SELECT name, (end_time - start_time) / 1000.0 FROM runs").fetchone()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("train.py", "LOCAL")
    assert (tags["mlflow.note.content"], name) == ("a first try", "first")
    journal = next(tmp_path.glob("runs/*/journal.jsonl")).read_text().splitlines()
    times = [json.loads(line)["time"] for line in journal]
    assert abs(seconds - (times[-1] - json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())["created"])) < 0.01
    (archive,) = tmp_path.glob("runs/*/trackers/comet_ml/*.zip")
    with zipfile.ZipFile(archive) as inside:
        messages = [json.loads(line) for line in inside.read("messages.json").decode().splitlines()]
    assert [m["payload"]["file_name"] for m in messages if m["type"] == "file_name"] == ["train.py"]
    (task,) = tmp_path.glob("runs/*/trackers/clearml/offline/*/task.json")
    assert json.loads(task.read_text())["script"]["entry_point"] == "train.py"
