"""Trackio, written by the tracker in a process of its own, and read from its SQLite file and by its own server."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import driver

pytestmark = pytest.mark.trackers
SETUP, ONLINE, READ, KILL = ["setup", {}], ["setup", {"online": True}], ["read", {}], ["kill"]
READ_ONLINE = ["read", {"online": True}]
MOMENT = 1_700_000_000.25

drive = driver("trackio")


def log(*points: tuple[str, Any, int]) -> list[Any]:
    """Log points."""
    return ["log_metrics", [[key, value, step, MOMENT] for key, value, step in points]]


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask a database of Trackio's."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(sql).fetchall()


class Server:
    """Trackio's server, on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "server"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {"TRACKIO_SERVER_URL": self.url, "TRACKIO_WRITE_TOKEN": "a-token"}
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [sys.executable, str(Path(__file__).with_name("trackio_server.py")), str(self.port)]
        environment = {**os.environ, "TRACKIO_DIR": str(self.folder), "TRACKIO_WRITE_TOKEN": "a-token"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        while "listens" not in self.process.stdout.readline():
            assert self.process.poll() is None

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def call(self, name: str, **arguments: Any) -> Any:
        """Ask it, as its dashboard does."""
        body = json.dumps({"args": [], "kwargs": arguments}).encode()
        headers = {"Content-Type": "application/json", "X-Trackio-Write-Token": "a-token"}
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/api/{name}", body, headers)) as answer:
            return json.load(answer)["data"]

    def held(self) -> list[Any]:
        """List the key, value and step of every point that it has."""
        found = [
            [key, value, row["step"]]
            for run in self.call("get_runs_for_project", project="check")
            for row in self.call("get_logs", project="check", run_id=run["id"])
            for key, value in row.items()
            if key not in ("step", "timestamp") and not isinstance(value, dict)
        ]
        return sorted(found, key=str)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a server."""
    running = Server(tmp_path)
    yield running
    running.stop()


def write_everything(folder: Path) -> list[list[Any]]:
    """Return calls that log one of each kind."""
    (folder / "inner" / "deep").mkdir(parents=True)
    (folder / "inner" / "deep" / "file").write_text("1")
    (folder / "model.bin").write_bytes(b"weights")
    (folder / "image.png").write_bytes(b"an image")
    (folder / "note.txt").write_text("*größe*\n")
    (folder / "table.csv").write_text('a,a,b\n1,x,\n2.5,"y""\n",True\n')
    (folder / "bins.json").write_text('{"counts": [1, 2], "edges": [0.0, 0.5, 1.0]}')
    media = (("image", "image.png"), ("audio", "model.bin"), ("text", "note.txt"), ("table", "table.csv"))
    return [
        log(("loss", 0.5, 3), ("loss", 0.5, 3), ("loss", 0.25, -2), ("step", 2**62, 2**40), ("x", "Infinity", 0)),
        ["log_params", {"lr": 1, "text": "0123", "_hidden": 2**70, "runcast/x": None}],
        ["log_params", {"lr": 2}],
        ["log_summary", {"best": 0.5, "verdict": "good", "bad": "NaN"}],
        ["add_tags", ["later", "first"]],
        *(["log_media", kind, 3, kind, str(folder / name)] for kind, name in media),
        ["log_media", "histogram", 3, "histogram", str(folder / "bins.json")],
        ["log_artifact", "model", "model", str(folder / "model.bin")],
        ["log_artifact", "all files", "dataset", str(folder / "inner")],
    ]


def check_everything(seen: dict[str, Any]) -> None:
    """Compare what was read with what `write_everything` logs."""
    assert seen["points"] == sorted(
        [["loss", 0.5, 3], ["loss", 0.5, 3], ["loss", 0.25, -2], ["step", 2**62, 2**40], ["x", "Infinity", 0]], key=str
    )
    assert seen["params"] == {"lr": 2, "text": "0123", "_hidden": float(2**70), "runcast/x": None}
    assert (seen["summary"], seen["tags"]) == ({"best": 0.5, "verdict": "good", "bad": "NaN"}, ["first", "later"])
    assert seen["media"] == [[kind, 3] for kind in ("audio", "histogram", "image", "table", "text")]
    assert seen["artifacts"] == ["all files", "model"]
    assert (seen["status"], seen["name"], seen["notes"], seen["group"]) == ("killed", "a/name", "notes", "a group")


NAMED = {"name": "a/name", "notes": "notes", "group": "a group", "tags": ["first"], "project": "check"}


def test_what_is_logged_is_read_back_and_is_in_the_projects_database(tmp_path: Path) -> None:
    """Every kind comes back; the database has the time of each point, Trackio's own kinds of media, and the files."""
    *_, seen = drive(tmp_path / "run", ["setup", NAMED], *write_everything(tmp_path), ["finish", "killed", "it"], READ)

    check_everything(seen)
    folder = tmp_path / "trackio"
    logged = rows(folder / "check.db", "SELECT timestamp, step, metrics FROM metrics WHERE metrics != '{}' ORDER BY id")
    assert {timestamp for timestamp, _, _ in logged} <= {
        "2023-11-14T22:13:20.250000+00:00",
        "2023-11-14T22:13:20+00:00",
    }
    values: dict[str, Any] = {}
    for _, _, metrics in logged:
        values |= json.loads(metrics)
    assert (values["loss"], values["x"], values["_x73_tep"]) == (0.25, "Infinity", 2**62)
    assert values["text"] == {"_type": "trackio.markdown", "_value": "*größe*\n"}
    assert values["table"]["_type"] == "trackio.table"
    assert values["table"]["_value"] == [{"a": 1, "a (2)": "x", "b": None}, {"a": 2.5, "a (2)": 'y"\n', "b": True}]
    assert values["histogram"] == {"_type": "trackio.histogram", "bins": [0.0, 0.5, 1.0], "values": [1, 2]}
    assert (values["image"]["_type"], values["image"]["caption"]) == ("trackio.image", "a caption")
    assert (folder / "media" / values["image"]["file_path"]).read_bytes() == b"an image"
    ((config,),) = rows(folder / "check.db", "SELECT config FROM configs")
    assert (json.loads(config)["_Group"], json.loads(config)["runcast/error"]) == ("a group", "it")


def test_a_long_run_is_read_back_after_a_kill(tmp_path: Path) -> None:
    """More rows than Trackio reads at once; a killed process leaves whole batches."""
    points = [("loss", float(step), step) for step in range(11_000)]
    drive(tmp_path / "run", SETUP, log(*points[:6000]), KILL)

    killed, *_, seen = drive(tmp_path / "run", READ, SETUP, log(*points[6000:]), ["finish", "finished"], READ)

    assert (len(killed["points"]), killed["status"]) == (6000, "running")
    assert seen["points"] == sorted(([key, value, step] for key, value, step in points), key=str)
    assert seen["status"] == "finished"


def test_runs_of_a_folder_share_a_database_which_trackio_lists(tmp_path: Path) -> None:
    """Trackio's own command finds both runs, and the values of a metric."""
    for name in ("one", "two"):
        drive(
            tmp_path / name, ["setup", {"name": name, "project": "check"}], log((name, 1.0, 1)), ["finish", "finished"]
        )
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")}

    def ask(*words: str) -> Any:
        code = "import sys; from trackio.cli import main; sys.argv = ['trackio', *sys.argv[1:]]; main()"
        command = [sys.executable, "-c", code, *words, "--project", "check", "--json"]
        return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert sorted(ask("list", "runs")["runs"]) == ["one", "two"]
    values = ask("get", "metric", "--run", "two", "--metric", "two")["values"]
    assert [(each["step"], each["value"]) for each in values] == [(1, 1.0)]


@pytest.mark.parametrize("project", ["model_system", "registry-models", "größe/1", "p" * 300])
def test_any_project_has_a_database(tmp_path: Path, project: str) -> None:
    """Also one whose name Trackio keeps for itself, or cannot make a file of."""
    *_, seen = drive(
        tmp_path / "run", ["setup", {"project": project}], log(("loss", 1.0, 1)), ["finish", "finished"], READ
    )

    assert (seen["points"], seen["status"]) == ([["loss", 1.0, 1]], "finished")


def test_the_users_folder_is_used_and_nothing_is_looked_up(tmp_path: Path) -> None:
    """TRACKIO_DIR keeps its meaning; a local run asks for no address, whatever bucket is named."""
    variables = {"TRACKIO_DIR": str(tmp_path / "theirs"), "TRACKIO_BUCKET_ID": "someone/bucket"}

    opened, *_, addresses = drive(
        tmp_path / "run", ["setup", {"project": "check"}], log(("loss", 1.0, 1)), ["finish", "finished"], ["network"],
        **variables,
    )  # fmt: skip

    assert opened["url"] == str(tmp_path / "theirs" / "check.db")
    assert Path(opened["url"]).exists()
    assert not (tmp_path / "trackio").exists()
    assert addresses == []


def test_a_run_that_was_deleted_is_recreated(tmp_path: Path) -> None:
    """A run deleted in the dashboard is gone for the tracker, too; it gets another id."""
    began, *_ = drive(tmp_path / "run", ["setup", {"project": "check"}], log(("loss", 1.0, 1)), ["finish", "failed"])
    with closing(sqlite3.connect(tmp_path / "trackio" / "check.db")) as connection, connection:
        connection.execute("DELETE FROM metrics")
        connection.execute("DELETE FROM configs")

    again, lacking = drive(tmp_path / "run", ["setup", {"project": "check"}], READ)

    assert again["ids"]["id"] != began["ids"]["id"]
    assert lacking["points"] == []


GONE_MEANWHILE = """
import json, sqlite3, sys
from pathlib import Path
from runcast.core.errors import GoneError
from runcast.integrations.contract import Ending, TrackedRun
from runcast.integrations.trackio import TrackioTracker
from runcast.values.points import Point

folder, tracker = Path(sys.argv[1]), TrackioTracker()
about = {"id": "run", "name": "a name", "project": "check", "created": 1.7e9, "online": False}
tracker.setup(TrackedRun(directory=folder / "run", local=folder, **about))
tracker.log_metrics([Point("loss", 1.0, 1, 1.7e9)])
database = sqlite3.connect(folder / "trackio" / "check.db")
with database:
    database.execute("DELETE FROM metrics")
for call in (lambda: tracker.log_metrics([Point("loss", 2.0, 2, 1.7e9)]), lambda: tracker.finish(Ending("finished"))):
    try:
        call()
    except GoneError as error:
        print(error)
print(database.execute("SELECT count(*) FROM metrics").fetchone())
"""


def test_a_run_that_is_deleted_meanwhile_gets_no_more_points(tmp_path: Path) -> None:
    """It would be listed again with the rest of them; a delivery begins another run with all of them instead."""
    command = [sys.executable, "-c", GONE_MEANWHILE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout.splitlines() == ["Trackio no longer has the run."] * 2 + ["(0,)"], done.stderr


def test_a_server_gets_everything_also_after_a_kill(tmp_path: Path, server: Server) -> None:
    """With its address and token all goes there, each point once, and is read back from there."""
    run = tmp_path / "run"
    drive(run, ["setup", {**NAMED, "online": True}], log(("early", 1.0, 1)), KILL, **server.environment)

    opened, *_, seen = drive(
        run, ["setup", {**NAMED, "online": True}], *write_everything(tmp_path), ["finish", "killed"], READ_ONLINE,
        **server.environment,
    )  # fmt: skip

    assert opened["url"] == f"{server.url}/?project=check"
    seen["points"].remove(["early", 1.0, 1])
    check_everything(seen)
    assert server.held()[:2] == [["_x73_tep", 2**62, 2**40], ["early", 1.0, 1]]
    (image,) = server.folder.rglob("image.png")
    assert image.read_bytes() == b"an image"
    artifacts = {one["name"]: one for one in server.call("list_artifacts", project="check")}
    assert sorted(artifacts) == ["all_x20_files", "model"]
    assert not (tmp_path / "trackio").exists()


def test_a_server_that_is_away_or_refuses_is_told_apart(tmp_path: Path, server: Server) -> None:
    """A wrong token is final, a missing one names its variable, and a server that is down is tried again."""
    wrong = {**server.environment, "TRACKIO_WRITE_TOKEN": "wrong"}
    (refused,) = drive(tmp_path / "refused", ONLINE, **wrong)
    (unnamed,) = drive(tmp_path / "unnamed", ONLINE, TRACKIO_SERVER_URL=server.url)
    server.stop()
    (away,) = drive(tmp_path / "away", ONLINE, **server.environment)
    server.start()

    assert refused[0] == "FinalError"
    assert "write_token" in refused[1]
    assert unnamed[0] == "FinalError"
    assert "TRACKIO_WRITE_TOKEN" in unnamed[1]
    assert away[0] == "RetryableError"


def test_a_local_run_that_goes_on_at_a_server_is_another_run_there(tmp_path: Path, server: Server) -> None:
    """Its identity changes, so that a delivery sends all of it again."""
    first, *_ = drive(tmp_path / "run", ["setup", {"project": "check"}], log(("loss", 1.0, 1)), ["finish", "failed"])
    second, lacking = drive(
        tmp_path / "run", ["setup", {"project": "check", "online": True}], READ_ONLINE, **server.environment
    )

    other = {"TRACKIO_SERVER_URL": "http://127.0.0.1:1", "TRACKIO_WRITE_TOKEN": "a-token"}
    (elsewhere,) = drive(tmp_path / "run", ["read", {"project": "check", "online": True}], **other)

    assert (first["ids"]["server"], second["ids"]["server"]) == ("", server.url)
    assert lacking["points"] == []
    assert elsewhere["status"] == "running"  # it stays there


def test_an_alert_is_one_of_trackios(tmp_path: Path) -> None:
    """A text that is an alert is in Trackio's own table, too, and one that is sent again is there once; others are not."""
    (tmp_path / "alert.txt").write_text("warn: NaN loss\n\nin layer 3")
    alert = ["log_media", "alerts", 3, "text", str(tmp_path / "alert.txt"), "warn: NaN loss"]
    text = ["log_media", "note", 3, "text", str(tmp_path / "alert.txt"), "warn: NaN loss"]

    drive(tmp_path / "runs" / "one", SETUP, alert, alert, text)

    (database,) = (tmp_path / "runs").glob("trackio/*.db")
    assert rows(database, "SELECT title, text, level, step FROM alerts") == [("NaN loss", "in layer 3", "warn", 3)]
