"""A tracker that somebody else has published works like ours, by its name alone."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third_party_tracker"
TRAIN = """
import runcast

with runcast.init(id="a-run", config={"lr": 0.1}, report_to=REPORT_TO, delivery=DELIVERY) as run:
    for step in range(5):
        run.log({"train/loss": 1 / (step + 1)}, step=step)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the example as pip would, into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "package")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder), str(source)]
    done = subprocess.run([*pip, *offline], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def python(installed, tmp_path):
    """Return a function that runs Python where the example is installed."""

    def python(*arguments):
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{installed}", "RUNCAST_QUIET": "1"}
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return python


def train(python, report_to, delivery="process"):
    """Run the training."""
    done = python("-c", TRAIN.replace("REPORT_TO", repr(report_to)).replace("DELIVERY", repr(delivery)))
    assert done.returncode == 0, done.stderr


def points(folder):
    """Read the database."""
    with sqlite3.connect(folder / "runs" / "runs.sqlite") as database:
        return database.execute("SELECT run, key, step FROM points ORDER BY step").fetchall()


def test_its_name_is_a_name_in_report_to(python, tmp_path):
    """`report_to="sqlite"` delivers to it, and `runcast verify` finds every point."""
    train(python, ["sqlite"])

    verdicts = json.loads(python("-m", "runcast", "verify", "--json").stdout)
    assert [(v["name"], v["found"], v["is_right"], v["status"]) for v in verdicts] == [("sqlite", 5, True, "finished")]
    assert points(tmp_path) == [("a-run", "train/loss", step) for step in range(5)]


def test_doctor_all_and_a_wrong_name_know_it(python):
    """It is listed, it is part of "all", and it is what a similar word is taken for."""
    doctor = json.loads(python("-m", "runcast", "doctor", "--json").stdout)
    found = next(tracker for tracker in doctor["trackers"] if tracker["name"] == "sqlite")
    chosen = python("-c", "from runcast.autodetect import select; print(*select('all').chosen)").stdout.split()
    wrong = python("-c", "import runcast; runcast.init(report_to='sqlit')")

    assert (found["version"], found["mode"], found["problem"]) == ("0.1.0", "local", "")
    assert "sqlite" in chosen
    assert "Did you mean 'sqlite'?" in wrong.stderr


def test_what_was_logged_before_can_be_synced_or_replayed_to_it(python, tmp_path):
    """`runcast sync` delivers what waits, `runcast replay --to sqlite` a run that knew nothing of it."""
    train(python, ["sqlite"], "later")
    synced = python("-m", "runcast", "sync")
    shutil.rmtree(tmp_path / "runs" / "a-run")
    (tmp_path / "runs" / "runs.sqlite").rename(tmp_path / "synced.sqlite")
    train(python, "none")
    replayed = python("-m", "runcast", "replay", "a-run", "--to", "sqlite")

    assert (synced.returncode, replayed.returncode) == (0, 0), synced.stderr + replayed.stderr
    assert len(points(tmp_path)) == 5
    with sqlite3.connect(tmp_path / "synced.sqlite") as database:
        assert database.execute("SELECT count(*) FROM points").fetchone() == (5,)


def test_one_that_is_gone_is_an_error_only_when_it_is_asked_for(tmp_path, installed):
    """A distribution whose code is missing is skipped under "all", and named with what mends it when asked for."""
    broken = shutil.copytree(installed, tmp_path / "broken")
    (broken / "runcast_sqlite.py").unlink()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{broken}"}
    code = "from runcast.autodetect import select; print(select('all').skipped['sqlite']); select('sqlite')"

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)

    assert "runcast-sqlite 0.1.0 is installed, but its package runcast_sqlite is missing" in done.stdout
    assert "TrackerUnavailableError" in done.stderr
    assert "pip install --force-reinstall runcast-sqlite" in done.stderr


@pytest.mark.slow
def test_it_keeps_the_contract(python):
    """The example passes the check that every tracker of ours passes, as `python -m runcast.testing` plays it."""
    done = python("-m", "runcast.testing", "runcast_sqlite:SqliteTracker", "check", "--json")

    outcomes = {check["name"]: check["outcome"] for check in json.loads(done.stdout)}
    assert {name for name, outcome in outcomes.items() if outcome != "passed"} == {
        "foreign_run",
        "measurements",
        "media",
        "repeated_media",
        "artifacts",
    }
