"""SwanLab, written by the tracker in a process of its own, and read by SwanLab's own `sync` into a stand-in."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import StandIn, driver

pytestmark = pytest.mark.trackers
SETUP, ONLINE, READ, KILL = ["setup", {}], ["setup", {"online": True}], ["read", {}], ["kill"]

drive = driver("swanlab")


class Server(StandIn):
    """SwanLab, as far as its client needs it."""

    service = "swanlab"

    @property
    def environment(self) -> dict[str, str]:
        return {"SWANLAB_API_HOST": self.url, "SWANLAB_WEB_HOST": self.url, "SWANLAB_API_KEY": "a-key-of-16-chars"}

    def held(self) -> list[Any]:
        return sorted(json.load(urllib.request.urlopen(f"{self.url}/standin/held")), key=str)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a stand-in for SwanLab's server."""
    running = Server(tmp_path)
    yield running
    running.stop()


def log(*points: tuple[str, Any, int]) -> list[Any]:
    """Log points."""
    return ["log_metrics", [[key, value, step, 1.7e9] for key, value, step in points]]


def sync(folder: Path, server: Server) -> None:
    """Send a run's folder as a user does."""
    command = [sys.executable, "-m", "swanlab", "sync", "--id", "there", str(folder)]
    code = "import sys; from swanlab.cli import cli; cli(sys.argv[1:])"
    command = [sys.executable, "-c", code, *command[3:]]
    environment = {**os.environ, **server.environment}
    subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, check=True)


def folder_of(run: Path) -> Path:
    """Return the one folder that SwanLab's files of a run are in."""
    (folder,) = (run / "trackers" / "swanlab" / "swanlog").glob("run-*")
    return folder


def test_what_is_logged_is_read_back_and_is_what_swanlab_sync_sends(tmp_path: Path, server: Server) -> None:
    """Repeated, early and infinite points, texts, files and the end of the run are in one folder, which SwanLab reads."""
    image, video, inner = tmp_path / "image.png", tmp_path / "video.mp4", tmp_path / "folder" / "inner"
    image.write_bytes(b"an image")
    video.write_bytes(b"a video")
    inner.mkdir(parents=True)
    (inner / "file").write_text("1")
    points = [
        ("loss", 0.5, 3),
        ("loss", 0.5, 3),
        ("loss", 0.25, -2),
        ("x", "NaN", 0),
        ("big", 2**53, 2**40),
        (" .k/", 1, 0),
    ]

    *_, seen = drive(
        tmp_path / "run",
        ["setup", {"name": "a name", "notes": "n" * 1500, "group": "a group", "tags": ["first"]}],
        log(*points),
        ["log_params", {"lr": 1, "text": "0123"}],
        ["log_params", {"lr": 2}],
        ["log_summary", {"best": 0.5, "verdict": "good"}],
        ["add_tags", ["later"]],
        ["log_media", "samples", 3, "image", str(image)],
        ["log_media", "samples", 3, "video", str(video)],
        ["log_artifact", "all", "dataset", str(tmp_path / "folder")],
        ["finish", "killed", "stopped"],
        READ,
    )
    sync(folder_of(tmp_path / "run"), server)

    assert seen["points"] == sorted(([key, value, step] for key, value, step in points), key=str)
    assert (seen["params"], seen["summary"]) == ({"lr": 2, "text": "0123"}, {"best": 0.5, "verdict": "good"})
    assert (seen["tags"], seen["artifacts"], seen["media"]) == (
        ["first", "later"],
        ["all"],
        [["samples", 3], ["samples", 3]],
    )
    assert (seen["status"], seen["name"], seen["notes"], seen["group"]) == ("killed", "a name", "n" * 1500, "a group")
    assert server.held() == [
        ["_x20__x2e_k_x2f_", 1.0, 0],
        ["big", 2.0**53, 2**40],
        ["loss", 0.5, 3],
        ["runcast/again/1/loss", 0.5, 3],
        ["runcast/before/loss", 0.25, 2],
        ["x", "nan", 0],
    ]
    (experiment,) = server.bodies("/experiment")
    assert (experiment["name"], experiment["cluster"], experiment["labels"]) == (
        "a name",
        "a group",
        [{"name": "first"}],
    )
    assert [body["state"] for body in server.bodies("/state")] == ["ABORTED"]
    (prepared,) = server.bodies("/files/prepare")
    assert [file["path"] for file in prepared["files"]] == ["artifacts/all/inner/file"]
    assert {kind: values["value"] for kind, values in server.bodies("/profile")[-1]["config"].items()}["lr"] == 2


def test_all_sessions_are_one_file_also_after_a_kill(tmp_path: Path, server: Server) -> None:
    """A torn end is cut off, an earlier end of the run is replaced, and SwanLab gets all of it from one folder."""
    run = tmp_path / "run"
    drive(run, SETUP, log(("loss", 1, 1)), ["finish", "failed"])
    drive(run, SETUP, log(("loss", 2, 2)), KILL)
    (file,) = folder_of(run).glob("*.swanlab")
    with file.open("ab") as torn:
        torn.write(file.read_bytes()[-20:-5])

    killed, *_, seen = drive(run, READ, SETUP, log(("loss", 3, 3)), ["finish", "finished"], READ)
    sync(folder_of(run), server)

    assert (killed["points"], killed["status"]) == ([["loss", 1.0, 1], ["loss", 2.0, 2]], "running")
    assert (seen["points"], seen["status"]) == ([["loss", float(step), step] for step in (1, 2, 3)], "finished")
    assert server.held() == [["loss", float(step), step] for step in (1, 2, 3)]
    assert [body["state"] for body in server.bodies("/state")] == ["FINISHED"]


def test_without_credentials_nothing_is_asked_or_looked_up(tmp_path: Path) -> None:
    """A local run needs no login, no network and no terminal."""
    *_, addresses = drive(tmp_path / "run", SETUP, log(("loss", 1, 1)), ["finish", "finished"], ["network"])

    assert addresses == []


def test_the_users_variables_keep_their_meaning(tmp_path: Path, server: Server) -> None:
    """Those of SwanLab, of its versions before 0.8, and of transformers; what init is given goes before them."""
    variables = {
        "SWANLAB_PROJECT": "theirs",
        "SWANLAB_EXP_NAME": "a name",
        "SWANLAB_GROUP": "a group",
        "SWANLAB_TAGS": "a, b",
        "SWANLAB_RUN_ID": "an-id",
        "SWANLAB_LOG_DIR": str(tmp_path / "logs"),
    }

    answers = drive(
        tmp_path / "run", ["setup", {"online": True}], ["finish", "finished"], **variables, **server.environment
    )
    drive(
        tmp_path / "other", ["setup", {"online": True, "given": ["project", "id"]}], **variables, **server.environment
    )

    first, second = server.bodies("/experiment")
    assert (first["name"], first["cluster"], first["cuid"]) == ("a name", "a group", "an-id")
    assert first["labels"] == [{"name": "a"}, {"name": "b"}]
    assert answers[0]["url"] == f"{server.url}/@u/theirs/runs/an-id"
    assert [path.name.rpartition("-an-id")[1] for path in (tmp_path / "logs").glob("run-*-an-id")] == ["-an-id"]
    assert second["cuid"] != "an-id"


def test_online_everything_reaches_the_server_also_after_a_kill(tmp_path: Path, server: Server) -> None:
    """What a killed process had not sent is sent by the next one, each point once."""
    run, points = tmp_path / "run", [("loss", float(step), step) for step in range(30)]
    drive(run, ONLINE, log(*points[:10]), KILL, **server.environment)

    drive(run, ONLINE, log(*points[10:]), ["finish", "crashed"], **server.environment)

    assert server.held() == sorted((list(point) for point in points), key=str)
    assert [body["state"] for body in server.bodies("/state")] == ["CRASHED"]
    assert server.bodies("/profile")[-1]["config"]["runcast/status"]["value"] == "crashed"


def test_an_offline_session_goes_up_when_the_run_goes_on_online(tmp_path: Path, server: Server) -> None:
    """The run file of an offline session is sent when the run is first opened online."""
    run = tmp_path / "run"

    drive(run, SETUP, log(("loss", 1.0, 1)), ["finish", "failed"])
    drive(run, ONLINE, log(("loss", 2.0, 2)), ["finish", "finished"], **server.environment)

    assert server.held() == [["loss", 1.0, 1], ["loss", 2.0, 2]]


@pytest.mark.parametrize("moment", ["while it is written", "before it is resumed"])
def test_a_deleted_experiment_is_recreated(tmp_path: Path, server: Server, moment: str) -> None:
    """It gets another id, and all that the run has."""
    run, delete = tmp_path / "run", ["fetch", f"{server.url}/standin/delete"]
    first, held = log(("loss", 1.0, 1)), ["held", server.url, 1]
    if moment == "while it is written":
        began, *_, gone, again = drive(
            run, ONLINE, first, held, delete, log(("loss", 2.0, 2)), ["insist"], ["fresh"], ONLINE, **server.environment
        )
        assert gone[0] == "GoneError"
    else:
        began, *_ = drive(run, ONLINE, first, ["finish", "failed"], delete, **server.environment)
        (again,) = drive(run, ONLINE, **server.environment)

    lacking, *_ = drive(run, READ, ONLINE, first, ["finish", "finished"], **server.environment)

    assert again["ids"]["id"] != began["ids"]["id"]
    assert lacking["points"] == []
    assert server.held() == [["loss", 1.0, 1]]


@pytest.mark.parametrize(("status", "error"), [(401, "FinalError"), (503, "RetryableError")])
def test_a_refusal_is_final_and_a_failing_server_is_not(
    tmp_path: Path, server: Server, status: int, error: str
) -> None:
    """A wrong key is named with the command that replaces it."""
    urllib.request.urlopen(f"{server.url}/standin/refuse?{status}").close()

    (answer,) = drive(tmp_path / "run", ONLINE, **server.environment)

    assert answer[0] == error


def test_points_that_swanlab_cannot_hold_are_named(tmp_path: Path, server: Server) -> None:
    """An infinity, which the server would make a NaN, and a step beyond its limit are refused; the rest can be sent."""
    far, infinite = drive(
        tmp_path / "run", ONLINE, log(("loss", 1, 2**50)), log(("loss", "Infinity", 1)), **server.environment
    )[1:]

    assert far == ["FinalError", "SwanLab holds no step beyond 281,474,976,710,656."]
    assert infinite == ["FinalError", "SwanLab's server holds no infinity."]
