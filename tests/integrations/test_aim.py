"""Aim, by its own package and its own readers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import driver

pytestmark = [pytest.mark.trackers, pytest.mark.slow]

SETUP = ["setup", {"project": "digits", "name": "größe", "notes": "a note", "tags": ["a tag"]}]
READER = """
import json, sys
from aim import Repo
repo = Repo(sys.argv[1])
repo._recreate_index()
runs = []
for run in repo.iter_runs():
    metrics = {
        f"{m.name} {m.context.to_dict()}": [[r.step, r.value, r.time.timestamp()] for r in m.dataframe().itertuples()]
        for m in run.metrics()
    }
    runs.append({
        "name": run.name, "experiment": run.experiment, "notes": run.description, "tags": run.tags, "lr": run["lr"],
        "own": run["runcast"], "created": run.creation_time, "ended": run.end_time, "metrics": metrics,
        "artifacts": {name: one.uri for name, one in run.artifacts.items()},
    })
print("ANSWER", json.dumps(runs))
"""

drive = driver("aim")


def aims_own_view(folder: Path) -> list[dict[str, Any]]:
    """Return what Aim's own reader says of the runs of a repository."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, folder], capture_output=True, text=True, check=False
    )
    assert "ANSWER" in done.stdout, done.stderr[-3000:]
    return list(json.loads(done.stdout.rpartition("ANSWER")[2]))


def test_aims_own_reader_sees_the_run(tmp_path: Path) -> None:
    """Names, times of the training, each value of a step in a context of its own, the file and the end."""
    (tmp_path / "model.bin").write_bytes(b"weights")

    drive(
        tmp_path / "runs" / "one",
        SETUP,
        ["log_params", {"lr": 0.5}],
        ["log_metrics", [["loss", 0.5, 3, 1.7e9 + 1], ["loss", 0.25, 4, 1.7e9 + 2], ["loss", 0.75, 3, 1.7e9 + 3]]],
        ["log_summary", {"best": 2}],
        ["log_artifact", "model.bin", "model", str(tmp_path / "model.bin")],
        ["finish", "failed"],
        cwd=tmp_path,
    )

    (run,) = aims_own_view(tmp_path / "runs" / "aim")
    assert (run["name"], run["experiment"], run["notes"], run["tags"]) == ("größe", "digits", "a note", ["a tag"])
    assert (run["created"], run["ended"], run["lr"]) == (1.7e9, 1.7e9 + 60, 0.5)
    assert run["own"] == {"status": "failed", "summary": {"best": 2}}
    assert run["metrics"]["loss {}"] == [[3, 0.5, 1.7e9 + 1], [4, 0.25, 1.7e9 + 2]]
    assert run["metrics"]["loss {'repeat': 1}"] == [[3, 0.75, 1.7e9 + 3]]
    (place,) = run["artifacts"].values()
    assert Path(place.removeprefix("file://")).read_bytes() == b"weights"


def test_a_batch_that_was_cut_off_is_stored_once(tmp_path: Path) -> None:
    """After a kill the same points come again, in another process, and a step that goes back finds its place."""
    run, points = tmp_path / "runs" / "one", [["loss", 0.5, step, 1.7e9] for step in (0, 1, 2)]

    drive(run, SETUP, ["log_metrics", points], ["kill"])
    *_, seen = drive(run, SETUP, ["log_metrics", [["loss", 0.25, 1, 1.7e9]]], ["finish", "finished"], ["read", {}])

    assert seen["points"] == [["loss", 0.25, 1], ["loss", 0.5, 0], ["loss", 0.5, 1], ["loss", 0.5, 2]]
    assert seen["status"] == "finished"


def test_a_deleted_run_is_noticed_and_recreated(tmp_path: Path) -> None:
    """As `aim runs rm` deletes it: the next flush says so, and a fresh setup makes another run."""
    run = tmp_path / "runs" / "one"
    opened, *_ = drive(run, SETUP, ["log_metrics", [["loss", 0.5, 0, 1.7e9]]], ["flush"])
    name = opened["ids"]["hash"]
    for kind in ("meta", "seqs"):
        shutil.rmtree(tmp_path / "runs" / "aim" / ".aim" / kind / "chunks" / name)

    again, _, _, seen = drive(
        run, SETUP, ["log_metrics", [["loss", 0.25, 1, 1.7e9]]], ["finish", "finished"], ["read", {}]
    )

    assert again["ids"]["hash"] != name
    assert (seen["points"], seen["status"]) == ([["loss", 0.25, 1]], "finished")


def test_a_repository_elsewhere_and_one_on_a_server(tmp_path: Path) -> None:
    """The option `repo` is a folder; Aim's server is refused at once, because its client would lose points."""
    elsewhere = str(tmp_path / "all of us")
    opened, *_, seen = drive(
        tmp_path / "runs" / "one",
        ["setup", {"options": {"repo": elsewhere, "experiment": "ours"}}],
        ["log_metrics", [["loss", 0.5, 0, 1.7e9]]],
        ["finish", "killed"],
        ["read", {"options": {"repo": elsewhere}}],
    )
    (refused,) = drive(tmp_path / "runs" / "two", ["setup", {"options": {"repo": "aim://127.0.0.1:1"}}])

    assert opened["url"] == elsewhere
    assert (seen["points"], seen["status"]) == ([["loss", 0.5, 0]], "killed")
    assert refused[0] == "FinalError"
    assert "aim://127.0.0.1:1" in refused[1]
