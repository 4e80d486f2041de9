"""ClearML, written by the tracker in a process of its own and read back by it, by ClearML's importer, from a server."""

import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import StandIn, driver, refusing

SETUP, READ = ["setup", {}], ["read", {}]
ONLINE = {"online": True}


drive = driver("clearml")


def python(code: str, *arguments: Path, **environment: str) -> str:
    """Run a script in a process of its own; return what it prints last."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def session(run: Path) -> Path:
    """Return the folder of the run's only offline session."""
    (folder,) = (path for path in (run / "trackers" / "clearml" / "offline").iterdir() if path.is_dir())
    return folder


KEYS = ["loss", "a/b", "a/b/c", "a/a", "a//a", "a", "/x", "x/", "", "/", "größe", "损/失", "a\nb", "_x41_", "x" * 300]
KEYS += ["Summary/x", "l=nan", "a/l=-inf", "a.b/$c"]
POINTS = [[key, 0.5, step, 1.7e9] for step, key in enumerate(KEYS)]
POINTS += [["n/n", value, step, 1.7e9] for step, value in enumerate((1 / 3, "NaN", "Infinity", "-Infinity", 1e308, -7))]
POINTS += [["n", 2**53 + 1, -5, 1.7e9], ["n", "NaN", 2**62, 1.6e9]]
REPEATS = [["n", value, 3, 1.7e9] for value in (1, 1, "NaN", "NaN", 2)]


def write_everything(folder: Path) -> list[list[Any]]:
    """List calls that log something of every kind, with whatever is hard for ClearML."""
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "in" / "sub" / "file").write_text("1")
    files = {"file.txt": "hello", "table.csv": "a,b\n1,2\n3,4\n", "bars.json": '{"counts": [1, 2], "edges": [0, 1, 3]}'}
    for name, content in files.items():
        (folder / name).write_text(content)
    many = {f"p{number}": number for number in range(1000)}
    return [
        ["log_params", {**many, "lr": 1e-5, "a/é//b": "x" * 60_000, "none": None, "": "", "/": True, "a.b": "$"}],
        ["log_params", {"p1": "changed", "p2": 2}],
        ["log_metrics", POINTS],
        ["log_summary", {"best": 0.9, "steps": 2**60, "word": "text", "ok": True, "a/b": "1", "nan": 1}],
        ["log_summary", {"best": 0.95, "word": "later"}],
        ["add_tags", ["first", "of all", "é/"]],
        ["add_tags", ["second"]],
        ["log_media", "a/b", 3, "image", str(folder / "file.txt")],
        ["log_media", "words é:", -3, "text", str(folder / "file.txt")],
        ["log_media", "table", 3, "table", str(folder / "table.csv")],
        ["log_media", "a/bars", 4, "histogram", str(folder / "bars.json")],
        ["log_artifact", "file.txt", "config", str(folder / "file.txt")],
        ["log_artifact", "in/other:words", "file", str(folder / "file.txt")],
        ["log_artifact", "folder", "dataset", str(folder / "in")],
    ]


def check_everything(seen: dict[str, Any], points: list[list[Any]]) -> None:
    """Compare what was read with what `write_everything` wrote."""
    assert seen["points"] == sorted(([key, value, step] for key, value, step, _ in points), key=str)
    assert len(seen["params"]) == 1006
    expected = {"p1": "changed", "p2": "2", "lr": "1e-05", "a/é//b": "x" * 60_000, "none": "None", "": "", "/": "True"}
    assert {key: seen["params"][key] for key in expected} == expected
    assert seen["summary"] == {"best": 0.95, "steps": 2**60, "word": "later", "ok": True, "a/b": "1", "nan": 1}
    assert seen["tags"] == ["first", "of all", "second", "é/"]
    assert seen["artifacts"] == ["file.txt", "folder", "in/other:words"]
    assert seen["media"] == [["a/b", 3], ["a/bars", 4], ["table", 3], ["words é:", -3]]
    assert (seen["name"], seen["notes"], seen["group"]) == ("a name", "a note", "a group")


def test_what_is_logged_is_read_back_without_network(tmp_path: Path) -> None:
    """Any key, step and value, 1,000 params and files come back from the session's own files, and nothing is sent."""
    run = tmp_path / "run"

    began, *_, open_one, _, seen, addresses = drive(
        run,
        ["setup", {"notes": "a note", "group": "a group"}],
        *write_everything(tmp_path),
        ["log_metrics", REPEATS],
        READ,
        ["finish", "finished"],
        READ,
        ["network"],
    )

    check_everything(seen, POINTS + REPEATS)
    assert (open_one["status"], seen["status"]) == ("running", "finished")
    assert {**open_one, "status": ""} == {**seen, "status": ""}
    assert addresses == []
    assert began["url"] == str(session(run))
    names = zipfile.ZipFile(session(run).with_suffix(".zip")).namelist()
    assert {"task.json", "metrics.jsonl"} <= set(names)
    assert len([name for name in names if name.startswith("data/")]) == 5


def test_every_status_comes_back_and_a_resumed_run_is_one_session(tmp_path: Path) -> None:
    """All four endings are told apart; a run that goes on does so in the same session, at the steps that it gives."""
    run, endings = tmp_path / "run", ("failed", "killed", "crashed", "finished")

    logs = [["log_metrics", [["a", 1, step, 1.0]]] for step in range(4)]
    halves = [
        [call for i in half for call in (SETUP, logs[i], ["finish", endings[i], "Trace"], ["finish", endings[i]], READ)]
        for half in ((0, 1), (2, 3))
    ]

    answers = drive(run, *halves[0]) + drive(run, *halves[1])

    assert [answer["status"] for answer in answers[4::5]] == list(endings)
    assert answers[-1]["points"] == [["a", 1, step] for step in range(4)]
    with zipfile.ZipFile(session(run).with_suffix(".zip")) as archive:
        assert len(archive.read("metrics.jsonl").splitlines()) == 4


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """What was logged before SIGKILL is there; a line that it was writing is cut off, and the rest can be imported."""
    run = tmp_path / "run"
    drive(run, SETUP, ["log_params", {"a": 1}], ["log_metrics", [["a", 1, 1, 1.0], ["b", 2, 1, 1.0]]], ["kill"])
    with (session(run) / "metrics.jsonl").open("a") as events:
        events.write('[{"type": "training_stats_sc')

    seen, _, _, _, at_end = drive(run, READ, SETUP, ["log_metrics", [["a", 2, 2, 1.0]]], ["finish", "finished"], READ)

    assert (seen["points"], seen["params"], seen["status"]) == ([["a", 1, 1], ["b", 2, 1]], {"a": "1"}, "running")
    assert (at_end["points"], at_end["params"]) == ([["a", 1, 1], ["a", 2, 2], ["b", 2, 1]], {"a": "1"})
    assert [len(json.loads(line)) for line in (session(run) / "metrics.jsonl").read_text().splitlines()] == [2, 1]


def test_a_session_that_was_cut_in_mid_write_is_recreated(tmp_path: Path) -> None:
    """A task file that a kill left half written is no dead end: the delivery sees nothing and sends all again."""
    run = tmp_path / "run"
    drive(run, SETUP, ["log_metrics", [["a", 1, 1, 1.0]]], ["kill"])
    first = session(run)
    (first / "task.json").write_text('{"comment": "a n')

    _, seen, _, at_end = drive(run, SETUP, READ, ["finish", "failed"], READ)

    assert seen["points"] == []
    assert (at_end["status"], at_end["name"]) == ("failed", "a name")
    assert session(run) != first


MANNERS = """
import os, random, signal, sys
from pathlib import Path
from runcast.integrations.contract import TrackedRun
from runcast.integrations.loading import load_tracker
from runcast.integrations.table import TABLE
row, local = TABLE["clearml"], Path(sys.argv[1])
local.mkdir()
tracker = load_tracker(row.tracker, {**row.environment, **row.offline_environment})()
import numpy
def state():
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    return handlers, sys.exit, sys.excepthook, os.getcwd(), numpy.random.get_state()[1].tolist()
before = state()
tracker.setup(TrackedRun(id="r", name="n", project="p", directory=local, local=local, created=1.0, online=False))
children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
print("same" if before == state() else "changed", children or "alone", flush=True)
os._exit(0)
"""


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    """After `Task.init` the signal handlers, the hooks and NumPy's seed are the same, and nothing was forked."""
    assert python(MANNERS, tmp_path / "local") == "same alone"


def test_clearmls_own_variables_keep_their_meaning(tmp_path: Path) -> None:
    """Project, task name and cache come from the environment; init's argument beats it; the run is found without it."""
    environment = {
        "CLEARML_PROJECT": "their/project",
        "CLEARML_TASK": "their task",
        "CLEARML_CACHE_DIR": str(tmp_path / "c"),
    }
    first, second = tmp_path / "first", tmp_path / "second"

    drive(first, SETUP, ["log_metrics", [["a", 1, 1, 1.0]]], ["finish", "finished"], **environment)
    (seen,) = drive(first, READ)
    began, *_ = drive(second, ["setup", {"name": "ours", "given": ["name"]}], **environment)

    assert (seen["points"], seen["name"]) == ([["a", 1, 1]], "their task")
    assert Path(began["url"]).parent == tmp_path / "c" / "offline"
    task = json.loads((Path(began["url"]) / "task.json").read_text())
    assert (task["project_name"], task["name"]) == ("their/project", "ours")


class Server(StandIn):
    """A stand-in for a ClearML server, which logs every request."""

    service = "clearml"

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        keys = {"CLEARML_API_ACCESS_KEY": "key", "CLEARML_API_SECRET_KEY": "secret"}
        hosts = {"CLEARML_API_HOST": self.url, "CLEARML_WEB_HOST": self.url, "CLEARML_FILES_HOST": f"{self.url}/files"}
        self.environment = {**keys, **hosts}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a stand-in."""
    running = Server(tmp_path)
    yield running
    running.stop()


def test_a_server_holds_the_same_as_a_session(tmp_path: Path, server: Server) -> None:
    """Online everything comes back as well; the credentials may be in the user's clearml.conf, which stays in force."""
    keys = 'credentials { "access_key": "key", "secret_key": "secret" }'
    hosts = f'api_server: "{server.url}"\n web_server: "{server.url}"\n files_server: "{server.url}/files"\n'
    Path(os.environ["HOME"], "clearml.conf").write_text(f"api {{\n {hosts} {keys}\n}}\n")

    began, *_, seen = drive(
        tmp_path / "run",
        ["setup", {"notes": "a note", "group": "a group", **ONLINE}],
        *write_everything(tmp_path),
        ["finish", "crashed", "Traceback\nValueError: no"],
        ["read", ONLINE],
    )

    check_everything(seen, POINTS)
    assert seen["status"] == "crashed"
    assert began["url"] == f"{server.url}/projects/P/experiments/{began['ids']['task']}/output/log"
    assert len(server.requests("tasks.create")) == 1
    assert [json.loads(body)["status_reason"] for body in server.requests("tasks.failed")] == ["ValueError: no"]
    assert len(server.requests("/files")) == 5
    assert "NaN" not in "".join(server.requests("events.add_batch"))


def test_a_server_keeps_several_values_of_a_step(tmp_path: Path, server: Server) -> None:
    """It knows a point by its series and step, so whatever may be a second one is told apart; the others are as ever."""
    first, again = (
        [["n", 1, 1, 1.7e9], ["m", 0, 1, 1.7e9], *REPEATS, ["n", 5, 4, 1.7e9]],
        [["n", 6, 4, 1.8e9], ["n", 7, 2, 1.8e9]],
    )
    run = tmp_path / "run"
    drive(run, ["setup", ONLINE], ["log_metrics", first], **server.environment)
    *_, seen = drive(
        run, ["setup", ONLINE], ["log_metrics", again], ["finish", "finished"], ["read", ONLINE], **server.environment
    )

    assert seen["points"] == sorted(([key, value, step] for key, value, step, _ in (*first, *again)), key=str)
    sent = [json.loads(line) for body in server.requests("events.add_batch") for line in body.splitlines()]
    assert sum("key" in event for event in sent) == len(REPEATS) - 1 + len(again)


def test_a_task_that_is_open_already_is_joined_and_stays_open(tmp_path: Path, server: Server) -> None:
    """The task of clearml-agent, or one that the script opened itself, gets the points, and its owner ends it."""
    log = ["log_metrics", [["a", 1, 1, 1.0]]]

    for name, variable in (
        ("agent", {"CLEARML_TASK_ID": "theirs"}),
        ("script", {"CLEARML_PROC_MASTER_ID": "1:theirs"}),
    ):
        run = tmp_path / name
        *_, seen = drive(
            run, ["setup", ONLINE], log, ["finish", "failed"], ["read", ONLINE], **server.environment, **variable
        )
        assert (seen["points"], seen["status"]) == ([["a", 1, 1]], "failed")

    assert server.requests("tasks.create") == server.requests("tasks.failed") == server.requests("tasks.started") == []


def test_a_server_that_goes_and_comes_back_is_retried(tmp_path: Path, server: Server) -> None:
    """While the server is away every call says so, where ClearML would repeat it for ever; afterwards the same task goes on, and never offline."""
    run, log = tmp_path / "run", ["log_metrics", [["a", 1, 1, 1.0]]]

    opened, _, _, *away = drive(
        run,
        ["setup", ONLINE],
        log,
        ["kill", server.process.pid],
        log,
        ["log_params", {"a": 1}],
        ["finish", "finished"],
        ["read", ONLINE],
        ["setup", ONLINE],
        **server.environment,
    )
    again = Server(tmp_path, int(server.url.rpartition(":")[2]))
    offline = drive(run, SETUP, **server.environment)
    back = drive(run, ["setup", ONLINE], log, ["finish", "finished"], ["read", ONLINE], **server.environment)
    again.stop()

    assert [answer[0] for answer in away] == ["RetryableError"] * 5
    assert offline[0][0] == "FinalError"
    assert back[0]["ids"] == opened["ids"]
    assert (back[-1]["points"], back[-1]["status"]) == ([["a", 1, 1]], "finished")


def test_a_task_that_was_deleted_is_recreated(tmp_path: Path, server: Server) -> None:
    """While it is written every call says so; the next task says which one it replaces. Another server is not believed."""
    run, log = tmp_path / "run", ["log_metrics", [["a", 1, 1, 1.0]]]
    delete = ["fetch", f"{server.url}/standin/delete"]

    began, _, _, *gone, again, _, _, seen = drive(
        run, ["setup", ONLINE], log, delete, log, ["log_params", {"a": 1}], ["finish", "finished"], ["fresh"],
        ["setup", ONLINE], log, ["finish", "finished"], ["read", ONLINE], **server.environment,
    )  # fmt: skip

    task = began["ids"]["task"]
    assert [answer[0] for answer in gone] == ["GoneError"] * 3
    assert (again["ids"]["replaces"], again["ids"]["task"] != task) == (task, True)
    assert (seen["points"], seen["status"]) == ([["a", 1, 1]], "finished")
    properties = [item for body in server.requests("edit_hyper_params") for item in json.loads(body)["hyperparams"]]
    assert [item["value"] for item in properties if item["name"] == "runcast_replaces"] == [task]
    urllib.request.urlopen(f"{server.url}/standin/delete").close()
    other = server.environment["CLEARML_API_HOST"].replace("127.0.0.1", "localhost")
    (refused,) = drive(run, ["setup", ONLINE], **{**server.environment, "CLEARML_API_HOST": other})
    assert (refused[0], f"The run is on {server.url}" in refused[1]) == ("FinalError", True)


@pytest.mark.parametrize(("status", "error"), [(401, "FinalError"), (500, "RetryableError")])
def test_a_refused_login_is_final_and_a_broken_server_is_not(tmp_path: Path, status: int, error: str) -> None:
    """A wrong key is told at once; a login that a broken server could not answer is tried again by the delivery."""
    with refusing(status) as address:
        hosts = dict.fromkeys(("CLEARML_API_HOST", "CLEARML_WEB_HOST", "CLEARML_FILES_HOST"), address)
        keys = {"CLEARML_API_ACCESS_KEY": "key", "CLEARML_API_SECRET_KEY": "secret"}
        (answer,) = drive(tmp_path / "run", ["setup", ONLINE], **hosts, **keys)

    assert answer[0] == error, answer[1]


IMPORT = "import sys, clearml; print(clearml.Task.import_offline_session(sys.argv[1]))"


def test_a_session_is_imported_with_each_point_once(tmp_path: Path, server: Server) -> None:
    """ClearML's own importer takes the zip of a run that was killed and resumed."""
    run = tmp_path / "run"
    (tmp_path / "file.txt").write_text("hello")
    drive(run, SETUP, ["log_metrics", POINTS[:9]], ["kill"])
    file = str(tmp_path / "file.txt")
    media, artifact = ["log_media", "a/b", 3, "text", file], ["log_artifact", "f", "file", file]
    drive(run, SETUP, ["log_metrics", POINTS[9:]], ["log_params", {"lr": 1}], media, artifact, ["finish", "killed"])

    task = python(
        IMPORT, session(run).with_suffix(".zip"), CLEARML_CACHE_DIR=str(tmp_path / "cache"), **server.environment
    )
    copy = tmp_path / "copy"
    (copy / "trackers" / "clearml").mkdir(parents=True)
    (copy / "trackers" / "clearml" / "ids.json").write_text(json.dumps({"task": task}))
    (seen,) = drive(copy, ["read", ONLINE], **server.environment)

    assert seen["points"] == sorted(([key, value, step] for key, value, step, _ in POINTS), key=str)
    sent = [json.loads(line) for body in server.requests("events.add_batch") for line in body.splitlines()]
    assert len([event for event in sent if event["type"] == "training_stats_scalar"]) == len(POINTS)
    assert (seen["media"], seen["params"]) == ([["a/b", 3]], {"lr": "1"})
    assert len(server.requests("/files")) == 2
