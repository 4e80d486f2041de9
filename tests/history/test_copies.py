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


class Server(StandIn):
    """A stand-in for a service's server."""

    def held(self) -> list[tuple[str, float, int]]:
        """List the key, value and step of every point."""
        with urllib.request.urlopen(f"{self.url}/standin/held", timeout=10) as answer:
            return sorted((key, value, step) for key, value, step in json.load(answer))


class Wandb(Server):
    """W&B's."""

    service = "wandb"


class Comet(Server):
    """Comet's."""

    service = "comet"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wandb]:
    """Start W&B's stand-in, which the environment names."""
    server = Wandb(tmp_path)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    yield server
    server.stop()


@pytest.fixture
def comet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Comet]:
    """Start Comet's stand-in, which the environment names."""
    server = Comet(tmp_path)
    monkeypatch.setenv("COMET_URL_OVERRIDE", f"{server.url}/clientlib/")
    monkeypatch.setenv("COMET_API_KEY", "0123456789" * 2 + "01234")
    yield server
    server.stop()


def train(folder: Path, steps: range, to: str = "wandb", delivery: str = "later") -> None:
    """Train a session of the run without network."""
    with runcast.init(report_to=to, dir=folder, id="run", resume="allow", offline=True, delivery=delivery) as run:
        for step in steps:
            run.log({"loss": step / 2}, step=step)


def points(steps: range) -> list[tuple[str, float, int]]:
    """List what `train` logs."""
    return [("loss", step / 2, step) for step in steps]


def check(directory: RunDirectory, server: Server, steps: int) -> None:
    """Compare what the server has, and what is said of it, with what was logged."""
    (verdict,) = verify(directory)
    assert (verdict.problems(), verdict.logged, verdict.online) == ([], steps, True)
    assert server.held() == points(range(steps))


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


@pytest.mark.slow
def test_a_new_copy_of_a_run_sends_what_comet_lacks(tmp_path: Path, comet: Comet) -> None:
    """A copy that does not know what an earlier one has sent asks Comet for the points."""
    for copy, steps in (("first", range(3)), ("second", range(3, 5)), ("third", range(0))):
        train(tmp_path / "there", steps, "comet_ml")
        shutil.copytree(tmp_path / "there", tmp_path / copy)
        (outcome,) = sync(RunDirectory(tmp_path / copy / "run"), decide=decide, offline=False)
        assert outcome.result == "complete"

    check(RunDirectory(tmp_path / "third" / "run"), comet, 5)


@pytest.mark.slow
def test_a_new_copy_of_a_run_is_not_mixed_with_what_wandb_has(tmp_path: Path, server: Wandb) -> None:
    """W&B cannot be asked for points as exactly: the copy is refused until the run there was deleted, and says so."""
    outcomes = []
    for copy, steps in (("first", range(3)), ("second", range(3, 5))):
        train(tmp_path / "there", steps)
        shutil.copytree(tmp_path / "there", tmp_path / copy)
        outcomes += sync(RunDirectory(tmp_path / copy / "run"), decide=decide, offline=False)
    before = server.held()
    urllib.request.urlopen(f"{server.url}/standin/delete", timeout=10).close()
    outcomes += sync(RunDirectory(tmp_path / "second" / "run"), decide=decide)

    assert [outcome.result for outcome in outcomes] == ["complete", "refused", "complete"]
    assert "delete the run at W&B" in str(outcomes[1].note)
    assert before == points(range(3))
    check(RunDirectory(tmp_path / "second" / "run"), server, 5)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["wandb", "comet_ml"])
def test_a_run_that_still_trains_elsewhere_is_at_the_server_when_sync_returns(
    to: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Both SDKs send in the background, and the run stays open: sync waits until the server has everything."""
    service: Server = request.getfixturevalue({"wandb": "server", "comet_ml": "comet"}[to])
    run = runcast.init(report_to=to, dir=tmp_path / "there", id="run", offline=True, delivery="later")
    for _, value, step in points(range(3)):
        run.log({"loss": value}, step=step)
    run.flush()
    shutil.copytree(tmp_path / "there", tmp_path / "here")
    run.finish()
    copy = RunDirectory(tmp_path / "here" / "run")
    file = copy.load()
    file.host = "another"
    copy.save(file)

    (outcome,) = sync(copy, decide=decide, offline=False)

    assert (outcome.result, outcome.delivered) == ("open", 3)
    check(copy, service, 3)
