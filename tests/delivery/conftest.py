"""Runs that were cast to trackers but not delivered yet, and trackers with moods (`plain_trackers.py`)."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import runcast
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.journal.seal import seal_of

HERE = str(Path(__file__).parent)


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDirectory]:
    """Make a finished run of 20 points whose delivery waits for `sync`."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")

    def make(report_to: object = "none") -> RunDirectory:
        run = runcast.init("shapes", config={"lr": 0.1}, report_to=report_to, dir=tmp_path / "runs", delivery="later")
        for step in range(10):
            run.log({"loss": 0.1 * (step - 1), "accuracy": step / 10}, step=step)
        run.log_summary({"best": 0.9})
        run.finish()
        return RunDirectory(run.dir)

    return make


@pytest.fixture
def add_plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunDirectory], RunDirectory]:
    """Let PlainTracker, a class of the user's own, take part in a run."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH")))))

    def add(directory: RunDirectory) -> RunDirectory:
        file = directory.load()
        file.trackers["plain"] = TrackerChoice(
            tracker="plain_trackers:PlainTracker", online=False, reason="given as a class"
        )
        file.seal = seal_of(file)
        directory.save(file)
        return directory

    return add


@pytest.fixture
def set_mood() -> Callable[[RunDirectory, str], None]:
    """Say what goes wrong with PlainTracker from now on."""
    return lambda directory, mood: (directory.path / "mood.json").write_text(json.dumps(mood))
