"""Two scripts that have one run open at once: nothing is lost, and the last one that finishes ends the run."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import argument, make_private
from runcast.journal.records import Finish
from runcast.testing import MemoryTracker
from tests.journals import records

Start = Callable[..., runcast.Run]


def points_of(run: runcast.Run) -> list[tuple[str, Any, int]]:
    """List the points that the tracker has of a run."""
    return [(key, value, step) for key, value, step, _ in MemoryTracker.reading_of(run.dir).points]


def test_the_end_of_an_older_session_does_not_end_a_newer_one(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """A job that was preempted may end while its successor trains already."""
    old = start(id="run-1")
    old.log({"loss": 0.5}, step=0)
    new = start(id="run-1", resume="allow")
    assert f"is still open in process {new._file.pid}: both log into it" in capfd.readouterr().err

    old.finish("killed")
    new.log({"loss": 0.25}, step=1)
    new.finish()

    assert old.status == "killed"
    assert "killed here; another process continues it" in capfd.readouterr().err
    assert [record.status for record in records(new, Finish)] == ["finished"]


def test_an_older_session_that_has_logged_nothing_since_leaves_the_end_as_it_is(start: Start) -> None:
    """Whatever the order in which the two end."""
    old = start(id="run-1")
    new = start(id="run-1", resume="allow")

    new.finish("failed")
    old.finish()

    assert [record.status for record in records(new, Finish)] == ["failed"]


@pytest.mark.slow
def test_a_training_that_outlives_a_script_beside_it_is_delivered_to_the_end(start: Start) -> None:
    """A script that evaluates a checkpoint has the run open for a while; the training gets its deliveries back."""
    training = start(id="run-1", report_to=MemoryTracker)
    training.log({"loss": 0.5}, step=0)
    evaluation = start(id="run-1", report_to=MemoryTracker, resume="allow")
    evaluation.log({"score": 0.75}, step=0)
    training.log({"loss": 0.25}, step=1)
    assert evaluation.finish()

    deadline = time.monotonic() + 60
    training.log({"loss": 0.125}, step=2)
    while ("loss", 0.125, 2) not in points_of(training) and time.monotonic() < deadline:
        training._check(time.time())
        time.sleep(0.1)
    assert ("loss", 0.125, 2) in points_of(training)
    training.log({"loss": 0.0625}, step=3)
    assert training.finish("failed")

    assert sorted(points_of(training)) == [
        *(("loss", 0.0625, 3), ("loss", 0.125, 2), ("loss", 0.25, 1), ("loss", 0.5, 0), ("score", 0.75, 0)),
    ]
    assert MemoryTracker.reading_of(training.dir).status == "failed"


@pytest.mark.slow
def test_a_script_that_finishes_last_waits_for_what_it_has_logged(start: Start) -> None:
    """Also if it ends before it has noticed that the other one has ended."""
    training = start(id="run-1", report_to=MemoryTracker)
    evaluation = start(id="run-1", report_to=MemoryTracker, resume="allow")
    assert evaluation.finish()
    training.log({"loss": 0.5}, step=0)

    assert training.finish()

    assert points_of(training) == [("loss", 0.5, 0)]


def test_two_scripts_cannot_both_begin_a_run(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `resume` an id is for one of them, even if neither saw the other's run when it looked."""
    looks = iter([True])

    def make(folder: Path) -> None:
        make_private(folder)
        if next(looks, False):  # another script is a moment faster
            start(id="run-1")

    monkeypatch.setattr("runcast.journal.layout.make_private", make)

    with pytest.raises(runcast.OptionError, match="the run 'run-1' exists"):
        start(id="run-1")


def test_who_leaves_a_tracker_behind_with_points_that_wait_learns_of_it(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """They were on their way there when the job ended; a tracker that has everything is left in silence."""
    with start(id="run-1", report_to=["dvclive", "tensorboard"], delivery="later") as run:
        run.log({"loss": 0.5}, step=0)
    sync(RunDirectory(run.dir), ["tensorboard"], decide=decide)
    capfd.readouterr()

    with start(id="run-1", resume="allow", report_to="none"):
        said = [line for line in capfd.readouterr().err.splitlines() if "earlier session" in line]
    with start(id="run-1", resume="allow", report_to="none"):
        again = [line for line in capfd.readouterr().err.splitlines() if "earlier session" in line]

    command = f"runcast sync {argument(run.dir)} --tracker dvclive"
    assert said == [
        f"runcast: dvclive has no part in this session, and lacks points of an earlier session. To send it all: {command}"
    ]
    assert again == []
