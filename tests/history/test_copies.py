"""Runs that train where there is no network, and are sent from elsewhere: from the same folder, or from a copy of it."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from tests.integrations.driving import StandIn


class Wandb(StandIn):
    """The stand-in for W&B's server."""

    service = "wandb"

    def held(self) -> list[tuple[str, float, int]]:
        """List the key, value and step of every point."""
        with urllib.request.urlopen(f"{self.url}/standin/held", timeout=10) as answer:
            return sorted((key, value, step) for key, value, step in json.load(answer))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wandb]:
    """Start W&B's stand-in, which the environment names."""
    server = Wandb(tmp_path)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    yield server
    server.stop()


def train(folder: Path, steps: range, delivery: str = "later") -> None:
    """Train a session of the run without network."""
    with runcast.init(report_to="wandb", dir=folder, id="run", resume="allow", offline=True, delivery=delivery) as run:
        for step in steps:
            run.log({"loss": step / 2}, step=step)


def check(directory: RunDirectory, server: Wandb, steps: int) -> None:
    """Compare what the server has, and what is said of it, with what was logged."""
    (verdict,) = verify(directory)
    assert (verdict.problems(), verdict.logged, verdict.online) == ([], steps, True)
    assert server.held() == [("loss", step / 2, step) for step in range(steps)]


@pytest.mark.slow
def test_a_run_that_was_sent_goes_on_at_the_server_when_its_copy_is_renewed(tmp_path: Path, server: Wandb) -> None:
    """`rsync` puts the run.json of the machine without network over that of the copy, which was sent from here."""
    there, here = tmp_path / "there", tmp_path / "here"
    outcomes = []
    for steps in (range(3), range(3, 5)):
        train(there, steps)
        for _ in range(2):
            shutil.copytree(there, here, dirs_exist_ok=True)
            outcomes += sync(RunDirectory(here / "run"), decide=decide, offline=False)

    assert [(outcome.result, outcome.delivered, outcome.note) for outcome in outcomes] == [
        ("complete", 3, None),
        ("complete", 0, None),
        ("complete", 2, None),
        ("complete", 0, None),
    ]
    check(RunDirectory(here / "run"), server, 5)


@pytest.mark.slow
def test_a_session_without_network_waits_for_the_server_where_the_run_is(
    tmp_path: Path, server: Wandb, caplog: pytest.LogCaptureFixture
) -> None:
    """It writes no local files beside it, of which the server would have nothing; the next sync sends the rest."""
    directory = RunDirectory(tmp_path / "run")
    train(tmp_path, range(3))
    sync(directory, decide=decide, offline=False)
    train(tmp_path, range(3, 5), delivery="process")

    (away,) = sync(directory, decide=decide, offline=True)
    outcomes = sync(directory, decide=decide)

    assert "does not continue offline: the rest waits here" in caplog.text
    assert (away.result, away.waiting) == ("unavailable", 2)
    assert f"the run is on {server.url}/" in str(away.note)
    assert [outcome.result for outcome in outcomes] == ["complete"]
    check(directory, server, 5)
