"""Comet, written by the tracker in a process of its own; read back by it, by `comet upload`, from a server."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import StandIn, driver, refusing

SETUP, READ, KILL = ["setup", {}], ["read", {}], ["kill"]
ONLINE = ["setup", {"online": True}]
KEY = "0123456789" * 2 + "01234"


drive = driver("comet_ml")


def upload(*archives: Path, **environment: str) -> None:
    """Run `comet upload`."""
    command = [sys.executable, "-m", "comet_ml.scripts.comet", "upload", *map(str, archives)]
    subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)


def log(*points: tuple[Any, ...]) -> list[Any]:
    """Write a call that logs points, each (key, value, step) or (key, value, step, time)."""
    return ["log_metrics", [[*point, 1.7e9][:4] for point in points]]


def archives(run: Path) -> list[Path]:
    """List the archives for `comet upload`, the oldest first."""
    return sorted((run / "trackers" / "comet_ml").glob("*.zip"), key=lambda archive: archive.stat().st_mtime)


class Server(StandIn):
    """The stand-in for Comet's server."""

    service = "comet"

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        self.environment = {"COMET_URL_OVERRIDE": f"{self.url}/clientlib/", "COMET_API_KEY": KEY}

    def points(self) -> list[list[Any]]:
        """List the name, value, step and milliseconds of each point that was sent."""
        points = [point for body in self.bodies("/experiment/metric") for point in body["values"]]
        fields = ("metricName", "metricValue", "step", "timestamp")
        return [[point[field] for field in fields] for point in points if point["metricName"] != "process duration"]

    def others(self) -> dict[str, Any]:
        """Map the names of the "others" that were sent to their last values."""
        return {body["key"]: body["value"] for body in self.bodies("/log-other")}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start the stand-in."""
    server = Server(tmp_path)
    yield server
    server.stop()


def write_everything(folder: Path) -> list[list[Any]]:
    """List calls that log something of every kind, with whatever is hard for Comet."""
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "in" / "sub" / "file").write_text("1")
    files = {"file.txt": "hello", "table.csv": "a,b\n1,x\n", "bars.json": '{"counts": [1, 2], "edges": [0, 1, 2]}'}
    for name, content in files.items():
        (folder / name).write_text(content)
    return [
        ["log_params", {"lr": 0.1, "a/b.c": "x" * 1000, "flag": True, "": 1, "none": None, "curr_step": 2, "a\nb": 3}],
        ["log_params", {"lr": 0.2}],
        log(("loss", 0.5, 7), ("loss", 0.5, 7), ("loss", "NaN", 7), ("acc", "Infinity", 7), ("acc", "-Infinity", 3)),
        log(("a.b/c", 2**53 + 1, -5), ("", 1, 2**40), ("é💩\n", 1e300, 0), ("process duration", 4, 0), ("Name", 5, 0)),
        ["log_summary", {"loss": 0.25, "word": "text", "ok": True}],
        ["add_tags", ["one", "two, three"]],
        ["log_media", "a/words", 3, "text", str(folder / "file.txt")],
        ["log_media", "table", 3, "table", str(folder / "table.csv")],
        ["log_media", "bars", 4, "histogram", str(folder / "bars.json")],
        ["log_artifact", "file: a.txt", "config", str(folder / "file.txt")],
        ["log_artifact", "folder", "dataset", str(folder / "in")],
    ]


def check_everything(seen: dict[str, Any]) -> None:
    """Compare what was read with what `write_everything` wrote."""
    assert seen["points"] == [
        ["", 1, 2**40],
        ["Name", 5, 0],
        ["a.b/c", 2**53 + 1, -5],
        ["acc", "-Infinity", 3],
        ["acc", "Infinity", 7],
        ["loss", "NaN", 7],
        ["loss", 0.5, 7],
        ["loss", 0.5, 7],
        ["process duration", 4, 0],
        ["é💩\n", 1e300, 0],
    ]
    params = {"lr": 0.2, "a/b.c": "x" * 1000, "flag": True, "": 1, "none": None, "curr_step": 2, "a\nb": 3}
    assert seen["params"] == params
    assert seen["summary"] == {"loss": 0.25, "word": "text", "ok": True}
    assert seen["tags"] == ["one", "two, three"]
    assert seen["media"] == [["a/words", 3], ["bars", 4], ["table", 3]]
    assert seen["artifacts"] == ["file: a.txt", "folder"]


@pytest.mark.parametrize("status", ["finished", "failed", "killed", "crashed"])
def test_what_is_logged_is_read_back_with_its_status(tmp_path: Path, status: str) -> None:
    """Comet's archive holds odd values, steps and keys as they are, what a run is called, and how it ended."""
    who = {"name": "größe", "group": "a group", "notes": "two\nlines", "given": ["name", "group", "notes"]}

    answers = drive(
        tmp_path / "run", ["setup", who], *write_everything(tmp_path), ["finish", status, "why"], ["network"]
    )
    (seen,) = drive(tmp_path / "run", READ)

    assert answers[0]["url"] == str(tmp_path / "run" / "trackers" / "comet_ml")
    assert answers[1:-1] == [None] * (len(answers) - 2)
    assert answers[-1] == []
    check_everything(seen)
    assert [seen[field] for field in ("status", "name", "group", "notes")] == [status, "größe", "a group", "two\nlines"]
    (archive,) = archives(tmp_path / "run")
    description = json.loads(zipfile.ZipFile(archive).read("experiment.json"))
    assert description["customer_error_reported"] == (status in ("failed", "crashed"))


def test_points_have_the_time_at_which_they_were_logged(tmp_path: Path) -> None:
    """Points are in the archive in the order in which they came, each with its own step and time."""
    points = log(("loss", 1.5, 9, 1.7e9), ("loss", 1.25, 4, 1.6e9), ("loss", 1.25, 4, 1.6e9))

    drive(tmp_path / "run", SETUP, points, ["finish", "finished"])

    (archive,) = archives(tmp_path / "run")
    messages = map(json.loads, zipfile.ZipFile(archive).read("messages.json").splitlines())
    logged = [message["payload"] for message in messages if message["type"] == "metric_msg"]
    loss = [(point["metric"], point["local_timestamp"]) for point in logged if point["metric"]["metricName"] == "loss"]
    assert [(metric["metricValue"], metric["step"], time) for metric, time in loss] == [
        (1.5, 9, 1.7e12),
        (1.25, 4, 1.6e12),
        (1.25, 4, 1.6e12),
    ]


def test_a_session_that_was_killed_is_delivered_again_as_a_whole(tmp_path: Path, server: Server) -> None:
    """A killed process leaves no archive; the archives of all others together hold each point once when uploaded."""
    run = tmp_path / "run"

    drive(run, SETUP, log(("loss", 1, 1)), ["finish", "failed"])
    drive(run, SETUP, log(("loss", 2, 2)), READ, KILL)
    killed, _, before, *_, seen = drive(
        run, READ, SETUP, READ, log(("loss", 2, 2), ("loss", 3, 3)), ["finish", "finished"], READ
    )

    assert killed["points"] == [["loss", 1, 1], ["loss", 2, 2]]
    assert killed["status"] == "running"
    assert before["points"] == [["loss", 1, 1]]
    assert seen["points"] == [["loss", 1, 1], ["loss", 2, 2], ["loss", 3, 3]]
    assert seen["status"] == "finished"
    upload(*archives(run), **server.environment)
    assert [point[:3] for point in server.points()] == [["loss", 1, 1], ["loss", 2, 2], ["loss", 3, 3]]
    assert server.others()["runcast/status"] == "finished"


def test_the_users_variables_keep_their_meaning(tmp_path: Path) -> None:
    """COMET_* say where a run goes and what it is called; an argument of init beats them."""
    key = "k" * 32
    variables = {
        "COMET_START_EXPERIMENT_NAME": "theirs",
        "COMET_START_EXPERIMENT_TAGS": "x, y",
        "COMET_EXPERIMENT_KEY": key,
        "COMET_PROJECT_NAME": "their project",
        "COMET_WORKSPACE": "their workspace",
        "COMET_OFFLINE_DIRECTORY": str(tmp_path / "there"),
    }

    *_, seen = drive(tmp_path / "a", SETUP, log(("loss", 1, 1)), ["finish", "finished"], READ, **variables)
    given = ["setup", {"given": ["name", "project"]}]
    *_, other = drive(tmp_path / "b", given, ["finish", "finished"], READ, COMET_PROJECT_NAME="theirs")

    (archive,) = (tmp_path / "there").glob(f"{key}-*.zip")
    description = json.loads(zipfile.ZipFile(archive).read("experiment.json"))
    assert (description["project_name"], description["workspace"]) == ("their project", "their workspace")
    assert (seen["name"], seen["tags"], seen["points"]) == ("theirs", ["x", "y"], [["loss", 1, 1]])
    (archive,) = archives(tmp_path / "b")
    assert json.loads(zipfile.ZipFile(archive).read("experiment.json"))["project_name"] == "a project"
    assert other["name"] == "a name"


def test_an_option_that_comet_does_not_have_is_named(tmp_path: Path) -> None:
    """Other options of `setup` go to comet_ml.start and ExperimentConfig; a wrong one is an error that names it."""
    good = drive(
        tmp_path / "a", ["setup", {"options": {"workspace": "team", "log_code": False}}], ["finish", "finished"]
    )
    bad = drive(tmp_path / "b", ["setup", {"options": {"work_space": "team"}}], ["finish", "finished"])

    assert good[0]["url"]
    assert bad[0][0] == "FinalError"
    assert "work_space" in bad[0][1]


JOINED = """
import sys, comet_ml
from pathlib import Path
from runcast.integrations.comet_ml import CometTracker
from runcast.integrations.contract import Ending, Point, TrackedRun

folder = Path(sys.argv[1])
mine = comet_ml.start(online=False, experiment_config=comet_ml.ExperimentConfig(offline_directory=str(folder)))
tracker = CometTracker()
local = folder / "local"
run = TrackedRun(id="ours", name="n", project="p", directory=folder, local=local, created=1.0, online=False)
tracker.setup(run)
tracker.log_metrics([Point("loss", 0.5, 3, 1.7e9)])
tracker.finish(Ending("failed"))
assert mine.alive and not mine.ended
mine.end()
print([tuple(point)[:3] for point in CometTracker().read(run).points], run.ids["key"] == mine.get_key())
"""


def test_an_experiment_that_the_user_opened_is_joined_and_left_open(tmp_path: Path) -> None:
    """With delivery in a thread, what is reported goes to the experiment that is there, and ending that is the user's."""
    quiet = {"COMET_DISABLE_AUTO_LOGGING": "1", "COMET_AUTO_LOG_CO2": "0", "COMET_AUTO_LOG_ENV_DETAILS": "0"}
    command = [sys.executable, "-c", JOINED, str(tmp_path)]
    done = subprocess.run(
        command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert done.stdout.splitlines()[-1:] == ["[('loss', 0.5, 3)] True"], done.stderr


def test_online_everything_reaches_the_server(tmp_path: Path, server: Server) -> None:
    """With credentials all goes to Comet, artifacts as Artifacts; the archive that is kept tells what was given to it."""
    environment = {**server.environment, "COMET_FALLBACK_STREAMER_KEEP_OFFLINE_ZIP": "0"}
    answers = drive(tmp_path / "run", ONLINE, *write_everything(tmp_path), ["finish", "crashed"], **environment)
    (seen,) = drive(tmp_path / "run", READ)

    assert answers[0]["url"].startswith(server.url)
    assert answers[1:] == [None] * (len(answers) - 1)
    assert ["loss", 0.5, 7, 1_700_000_000_000] in server.points()
    assert len(server.points()) == 10
    assert server.others()["runcast/status"] == "crashed"
    assert [body["hasCrashed"] for body in server.bodies("/update-status")] == [True]
    assert [body["artifactName"] for body in server.bodies("/artifacts/upsert")] == ["file_x3a_ a.txt", "folder"]
    check_everything(seen)
    assert seen["status"] == "crashed"
    assert not archives(tmp_path / "run")


def test_after_a_kill_online_what_the_server_did_not_acknowledge_counts_as_missing(
    tmp_path: Path, server: Server
) -> None:
    """What `read` shows of a killed session is what the server has, so that the rest is delivered again."""
    run, first = tmp_path / "run", [("loss", float(step), step) for step in range(50)]
    drive(run, ONLINE, log(*first[:10]), ["flush"], log(*first[10:]), KILL, **server.environment)

    (killed,) = drive(run, READ)
    sent = [point[:3] for point in server.points()]
    rest = [point for point in first if list(point) not in killed["points"]]
    *_, seen = drive(run, ONLINE, log(*rest), ["finish", "finished"], READ, **server.environment)

    assert killed["points"] == sorted(sent, key=str)
    assert sorted(point[2] for point in server.points()) == list(range(50))
    assert sorted(point[2] for point in seen["points"]) == list(range(50))
    assert seen["status"] == "finished"


def test_after_a_kill_online_what_the_server_took_last_is_not_sent_again(tmp_path: Path, server: Server) -> None:
    """A process that is killed cannot note what the server took last: the server is asked."""
    run, points = tmp_path / "run", [("loss", float(step), step) for step in range(3)]
    points += [("loss", 2.0, 2), ("loss", "NaN", 3), ("other: /é", 4, 4)]
    drive(run, ONLINE, log(*points[:5]), ["held", server.url, 5], KILL, **server.environment)
    (database,) = run.glob("trackers/comet_ml/open/*/comet_messages.db")
    (journal,) = run.glob("trackers/comet_ml/open/*/messages.json")
    messages = [json.loads(line) for line in journal.read_text().splitlines()]
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM messages")
        connection.executemany(
            "INSERT INTO messages (message_id, message_type, status, message_json) VALUES (?, 'metric_msg', 1, '{}')",
            [(one["payload"]["message_id"],) for one in messages if one["type"] == "metric_msg"],
        )

    (killed,) = drive(run, READ)
    _, asked, *_, seen = drive(run, ONLINE, READ, log(points[5]), ["finish", "finished"], READ, **server.environment)

    assert killed["points"] == []
    assert asked["points"] == [
        ["loss", "NaN", 3],
        ["loss", 0.0, 0],
        ["loss", 1.0, 1],
        ["loss", 2.0, 2],
        ["loss", 2.0, 2],
    ]
    assert [point[1] for point in seen["points"] if point[0] != "loss"] == [4]
    assert len(server.points()) == 6


def test_what_another_copy_of_the_run_has_sent_is_not_sent_again(tmp_path: Path, server: Server) -> None:
    """Of a run that was copied without the tracker's folder, the server has points; of an older run with its key, none."""
    points = ("loss", 0.5, 0), ("loss", "NaN", 1), ("loss", 2.0, 2, 1.0)
    drive(tmp_path / "first" / "run", ONLINE, log(*points), ["finish", "finished"], **server.environment)

    _, seen = drive(tmp_path / "second" / "run", ONLINE, READ, **server.environment)

    assert seen["points"] == [["loss", "NaN", 1], ["loss", 0.5, 0]]


def test_an_offline_session_goes_up_before_the_run_goes_on_online(tmp_path: Path, server: Server) -> None:
    """Archives of offline sessions are uploaded when the run is first opened online, and counted once."""
    run = tmp_path / "run"

    drive(run, SETUP, log(("loss", 1, 1)), ["finish", "failed"])
    *_, seen = drive(run, ONLINE, log(("loss", 2, 2)), ["finish", "finished"], READ, **server.environment)

    assert [point[:3] for point in server.points()] == [["loss", 1, 1], ["loss", 2, 2]]
    assert seen["points"] == [["loss", 1, 1], ["loss", 2, 2]]
    assert seen["status"] == "finished"
    assert not archives(run)


@pytest.mark.parametrize(
    ("delete", "moment"),
    [("delete", "while it is written"), ("delete", "when it is finished"), ("delete?silently", "when it is finished")],
)
def test_an_experiment_that_is_deleted_meanwhile_is_recreated(
    tmp_path: Path, server: Server, delete: str, moment: str
) -> None:
    """Whether Comet refuses what is sent then or lets it vanish, it is asked for the experiment, and has none."""
    run, points = tmp_path / "run", [("loss", float(step), step) for step in range(3)]
    noticed = [["insist"]]
    if moment == "when it is finished":
        noticed = [["finish", "finished"]]

    answers = drive(
        run, ONLINE, log(points[0]), ["held", server.url, 1], ["fetch", f"{server.url}/standin/{delete}"], log(points[1]), *noticed,
        ["fresh"], ONLINE, READ, log(*points), ["finish", "finished"], READ, **server.environment,
    )  # fmt: skip

    began, *before, gone, again, lacking, _, _, seen = answers
    assert before == [None] * len(before)
    assert gone == ["GoneError", f"Comet no longer has the experiment {began['ids']['key']}"]
    assert again["ids"]["key"] != began["ids"]["key"]
    assert lacking["points"] == []
    assert (seen["points"], seen["status"], seen["summary"]) == ([["loss", s, s] for s in range(3)], "finished", {})
    assert json.load(urllib.request.urlopen(f"{server.url}/standin/held")) == [["loss", s, s] for s in range(3)]
    assert server.others()["runcast/replaces"] == began["ids"]["key"]


def test_an_experiment_that_was_deleted_before_it_is_resumed_is_recreated(tmp_path: Path, server: Server) -> None:
    """Its key is not used again; what was sent under it counts for nothing. Another server is not believed."""
    run = tmp_path / "run"
    drive(run, ONLINE, log(("loss", 1, 1)), ["finish", "failed"], **server.environment)
    drive(run, ONLINE, log(("loss", 2, 2)), ["held", server.url, 2], KILL, **server.environment)
    urllib.request.urlopen(f"{server.url}/standin/delete").close()
    other = server.environment["COMET_URL_OVERRIDE"].replace("127.0.0.1", "localhost")
    (refused,) = drive(run, ONLINE, **{**server.environment, "COMET_URL_OVERRIDE": other})
    assert (refused[0], f"The run is on {server.url}" in refused[1]) == ("FinalError", True)

    again, lacking, *_, seen = drive(
        run, ONLINE, READ, log(("loss", 1, 1), ("loss", 2, 2)), ["finish", "finished"], READ, **server.environment
    )

    assert lacking["points"] == []
    assert (seen["points"], seen["status"]) == ([["loss", 1, 1], ["loss", 2, 2]], "finished")
    assert server.others()["runcast/replaces"] == again["ids"]["replaces"] != again["ids"]["key"]


@pytest.mark.parametrize(("status", "error"), [(403, "FinalError"), (500, "RetryableError")])
def test_a_refusal_is_final_and_a_failing_server_is_not(tmp_path: Path, status: int, error: str) -> None:
    """A wrong key is told at once; what may pass is tried again by the delivery."""
    with refusing(status) as address:
        variables = {"COMET_URL_OVERRIDE": f"{address}/clientlib/", "COMET_API_KEY": KEY}
        answers = drive(tmp_path / "run", ONLINE, ["finish", "finished"], **variables)

    assert answers[0][0] == error, answers[0][1]
    assert answers[1] is None
