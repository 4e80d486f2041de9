"""Runs that runcast 0.1 wrote (`runs_of_0_1`, made by it) can be verified, delivered and resumed."""

import json
import shutil
from pathlib import Path

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of such runs, on another machine than the one that they were made on."""
    return Path(shutil.copytree(Path(__file__).with_name("runs_of_0_1"), tmp_path / "runs"))


def test_a_delivered_run_is_verified(runs: Path) -> None:
    """Ten points, and everything else that it holds; 0.1 wrote the time of the delivery as the run's end."""
    (verdict,) = verify(RunDirectory(runs / "finished"), decide=decide, trust=True)

    assert verdict.problems() == ["its end is +1.4 s off that of the training"]
    assert (verdict.logged, verdict.found) == (10, 10)
    assert {kind: tally.found for kind, tally in verdict.others.items()} == {
        "params": 2,
        "summary": 1,
        "tags": 1,
        "media": 3,
    }


def test_a_waiting_run_is_delivered(runs: Path) -> None:
    """Its three points reach TensorBoard."""
    directory = RunDirectory(runs / "waiting")

    (outcome,) = sync(directory, decide=decide, trust=True)

    assert (outcome.name, outcome.result, outcome.points) == ("tensorboard", "complete", 3)
    (verdict,) = verify(directory, decide=decide, trust=True)
    assert (verdict.problems(), verdict.found) == ([], 3)


def test_a_run_is_resumed(runs: Path) -> None:
    """A second session continues it; TensorBoard has the points of both."""
    with runcast.init(dir=runs, id="finished", resume="must", report_to="tensorboard") as run:
        run.log({"train/loss": 0.1}, step=5)

    assert run.name == "old-run-1"
    assert json.loads((runs / "finished" / "run.json").read_text())["session"] == 2
    (verdict,) = verify(RunDirectory(runs / "finished"), decide=decide, trust=True)
    assert (verdict.problems(), verdict.found, verdict.status) == ([], 11, "finished")
