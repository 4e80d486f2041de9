"""What the services' own pages show of the script that was started, of its commit, and of its alerts."""

import json
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

SCRIPT = """
import runcast

trackers = ["mlflow", "comet_ml", "clearml", "wandb", "dvclive"]
run = runcast.init(report_to=trackers, notes="a first try", name="first", snapshot="git")
run.log({"loss": 0.5}, step=0)
run.alert("NaN loss", "in layer 3", level="warning")
assert run.finish()
"""
URL = "https://git.example.com/team/model.git"
AT = URL.replace("//", "//me:a-password@")


def git(folder: Path, *arguments: str) -> str:
    """Ask Git."""
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_run_shows_the_script_that_was_started(tmp_path: Path) -> None:
    """MLflow's source, Comet's and ClearML's script, W&B's commit, as those services' own stores and files have them."""
    (tmp_path / "train.py").write_text(SCRIPT.replace("0.5", "0.25"))
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    git(tmp_path, "remote", "add", "origin", AT)
    git(tmp_path, "add", "train.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    (tmp_path / "train.py").write_text(SCRIPT)
    commit = git(tmp_path, "rev-parse", "HEAD")

    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-3000:]
    with sqlite3.connect(tmp_path / "runs" / "mlflow.db") as database:
        tags = dict(database.execute("SELECT key, value FROM tags"))
        name, seconds = database.execute("SELECT name, (end_time - start_time) / 1000.0 FROM runs").fetchone()
    assert (tags["mlflow.source.name"], tags["mlflow.source.type"]) == ("train.py", "LOCAL")
    shown = {key: value for key, value in tags.items() if key.startswith("mlflow.source.git.")}
    assert {key.rpartition(".")[2]: value for key, value in shown.items()} == {
        "commit": commit,
        "branch": "main",
        "repoURL": URL,
    }
    assert (tags["mlflow.note.content"], name) == ("a first try", "first")
    journal = next(tmp_path.glob("runs/*/journal.jsonl")).read_text().splitlines()
    times = [json.loads(line)["time"] for line in journal]
    assert abs(seconds - (times[-1] - json.loads(next(tmp_path.glob("runs/*/run.json")).read_text())["created"])) < 0.01
    (archive,) = tmp_path.glob("runs/*/trackers/comet_ml/*.zip")
    with zipfile.ZipFile(archive) as inside:
        messages = [json.loads(line) for line in inside.read("messages.json").decode().splitlines()]
    assert [m["payload"]["file_name"] for m in messages if m["type"] == "file_name"] == ["train.py"]
    (metadata,) = [m["payload"]["git_metadata"] for m in messages if m["type"] == "git_metadata"]
    assert (metadata["parent"], metadata["branch"], metadata["origin"]) == (commit, "main", URL)
    (task,) = tmp_path.glob("runs/*/trackers/clearml/offline/*/task.json")
    script = json.loads(task.read_text())["script"]
    assert (script["entry_point"], script["version_num"]) == ("train.py", commit)
    assert (script["branch"], script["repository"]) == ("main", URL)
    (transactions,) = tmp_path.glob("runs/*/trackers/wandb/**/*.wandb")
    record = b"\n" + bytes([len(URL)]) + URL.encode() + b"\x12(" + commit.encode()  # GitRepoRecord: 1, 2
    assert record in transactions.read_bytes()
    # AlertRecord: title, text, level
    assert b"\n\x08NaN loss\x12\nin layer 3\x1a\x04WARN" in transactions.read_bytes()
    assert tags["tag.alert-warn"] == "true"
    (alert,) = tmp_path.glob("runs/mlartifacts/**/media/alerts+step+0.txt")
    assert alert.read_text() == "warn: NaN loss\n\nin layer 3"
    (params,) = tmp_path.glob("runs/*/trackers/dvclive/dvclive/params.yaml")
    assert {line.strip() for line in params.read_text().splitlines()} >= {f"snapshot/git/commit: {commit}"}
    kept = [path for path in tmp_path.glob("runs/**/*") if path.is_file()]
    assert [path for path in kept if b"a-password" in path.read_bytes()] == []
