"""MLflow, written by the tracker in a process of its own and read back by it, from a database, from a real server."""

import contextlib
import http.server
import json
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runcast.integrations.mlflow import MlflowTracker
from runcast.testing import check_tracker
from tests import warm
from tests.integrations.driving import MlflowServer, driver

SETUP, READ = ["setup", {}], ["read", {}]
ONLINE = {"online": True}


drive = driver("mlflow", warm.MLFLOW)


def select(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask the store that all runs of a folder share."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(query).fetchall()


def write_png(path: Path, width: int, height: int) -> Path:
    """Write a black image."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    parts += [(b"IDAT", zlib.compress((b"\0" * (width + 1)) * height)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store once, as that takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    code = "import sys, mlflow; mlflow.MlflowClient(f'sqlite:///{sys.argv[1]}').search_experiments()"
    environment = {**os.environ, "HOME": str(path.parent), "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, "-c", code, str(path)], env=environment, capture_output=True, check=True)
    return path


@pytest.fixture
def runs(tmp_path: Path, empty_store: Path) -> Path:
    """Return a folder for runs that has a store already."""
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(empty_store, folder)
    return folder


KEYS = ["loss", "a/b", "größe", "损失", "a//b", "/x", "x/", "", ".", "..", "a/./b", "a/../b", "..foo", "x:y", "p%q#?"]
KEYS += ["😀", "a\nb", "_x41_", "summary/x", "n n"]
POINTS = [[key, 0.5, step, 1.7e9] for step, key in enumerate(KEYS)]
POINTS += [
    ["n", value, step, 1.7e9] for step in (3, -5) for value in (1 / 3, 1 / 3, "NaN", "NaN", "Infinity", "-Infinity")
]
POINTS += [["n", 2**53, 2**62, 1.7e9], ["n", 1e308, 0, 1.6e9], ["k" * 300, 1, 1, 1.7e9]]


def write_everything(folder: Path) -> list[list[Any]]:
    """List calls that log something of every kind, with whatever is hard for MLflow."""
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "in" / "sub" / "file").write_text("1")
    text = folder / "file.txt"
    text.write_text("hello")
    return [
        [
            "log_params",
            {**{f"p{number}": number for number in range(1000)}, "a/é//b": "x" * 6000, "none": None, "": ""},
        ],
        ["log_params", {"p1": "changed", "p2": 2}],
        ["log_metrics", POINTS],
        ["log_summary", {"best": 0.9, "steps": 2**60, "word": "text", "ok": True, "a/b": "NaN"}],
        ["log_summary", {"best": 0.95, "word": "later"}],
        ["add_tags", ["first", "of all", "é/"]],
        ["add_tags", ["second"]],
        ["log_media", "images/a", 3, "image", str(write_png(folder / "image.png", 30, 20))],
        ["log_media", "thin é:", -3, "image", str(write_png(folder / "thin.png", 900, 2))],
        ["log_media", "a/words", 3, "text", str(text)],
        ["log_artifact", "file.txt", "config", str(text)],
        ["log_artifact", "in other:words", "file", str(text)],
        ["log_artifact", "media/in", "dataset", str(folder / "in")],
    ]


def check_everything(seen: dict[str, Any]) -> None:
    """Compare what was read with what `write_everything` wrote."""
    long_key = [point for point in seen["points"] if point[0].startswith("kkk")]
    others = [point for point in seen["points"] if point not in long_key]
    assert others == sorted(([key, value, step] for key, value, step, _ in POINTS[:-1]), key=str)
    assert [(len(key), value, step) for key, value, step in long_key] == [(234, 1, 1)]
    assert len(seen["params"]) == 1003
    expected = {"p1": "changed", "p2": "2", "a/é//b": "x" * 6000, "none": "None", "": ""}
    assert {key: seen["params"][key] for key in expected} == expected
    assert seen["summary"] == {"best": 0.95, "steps": 2**60, "word": "later", "ok": True, "a/b": "NaN"}
    assert seen["tags"] == ["first", "of all", "second", "é/"]
    assert seen["artifacts"] == ["file.txt", "in other:words", "media/in"]
    assert seen["media"] == [["a/words", 3], ["images/a", 3], ["thin é:", -3]]
    assert (seen["name"], seen["notes"], seen["group"]) == ("a name", "a note", "a group")


def test_what_is_logged_is_read_back_without_network(tmp_path: Path) -> None:
    """Any key, step and value, 1,000 params and files come back from the store beside the runs, and nothing is sent."""
    run = tmp_path / "runs" / "run"

    began, *_, seen, addresses = drive(
        run,
        ["setup", {"notes": "a note", "group": "a group"}],
        *write_everything(tmp_path),
        ["finish", "finished"],
        READ,
        ["network"],
    )

    check_everything(seen)
    assert seen["status"] == "finished"
    assert began["url"] == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert addresses == []
    assert sorted(path.name for path in run.parent.iterdir()) == ["mlartifacts", "mlflow.db", "run"]


def test_every_status_is_mlflows_own_and_comes_back(runs: Path) -> None:
    """MLflow shows FAILED for a run that failed or crashed, KILLED for an interrupted one; ours are told apart."""
    endings = ("failed", "killed", "crashed", "finished")
    calls = [
        call for ending in endings for call in (SETUP, READ, ["finish", ending, "Trace"], ["finish", ending], READ)
    ]

    answers = drive(runs / "run", *calls)

    assert [answer["status"] for answer in answers[1::5]] == ["running"] * 4
    assert [answer["status"] for answer in answers[4::5]] == list(endings)
    assert select(runs, "select status, count(*) from runs group by 1") == [("FINISHED", 1)]
    assert select(runs, "select value from tags where key = 'runcast.error'") == [("Trace",)]


def test_parallel_runs_share_one_store(tmp_path: Path) -> None:
    """Runs that start at the same moment in an empty folder end up side by side in one whole database."""
    runs = [tmp_path / "runs" / name for name in ("first", "second")]
    calls = [SETUP, ["log_metrics", [["a", 1, 1, 1.0]]], ["finish", "finished"]]

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda run: drive(run, *calls), runs))

    query = "select t.value, r.status, m.value from runs r join tags t using (run_uuid) join metrics m using (run_uuid)"
    rows = select(tmp_path / "runs", f"{query} where t.key = 'runcast.run_id' order by 1")
    assert rows == [("first", "FINISHED", 1.0), ("second", "FINISHED", 1.0)]
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.name.startswith(".")] == []


def test_a_killed_process_loses_nothing_and_makes_no_second_run(runs: Path) -> None:
    """What was logged before SIGKILL is there, and the same run goes on, even if its process remembered nothing."""
    run = runs / "run"
    drive(run, SETUP, ["log_metrics", [["a", 1, 1, 1.0], ["a", 1, 1, 1.0]]], ["kill"])
    (run / "trackers" / "mlflow" / "ids.json").unlink()

    _, seen, *_, at_end = drive(
        run, SETUP, READ, ["log_metrics", [["a", 1, 1, 1.0], ["a", 2, 0, 1.0]]], ["finish", "finished"], READ
    )

    assert (seen["points"], seen["status"]) == ([["a", 1, 1]] * 2, "running")
    assert (at_end["points"], at_end["status"]) == ([["a", 1, 1]] * 3 + [["a", 2, 0]], "finished")
    assert select(runs, "select count(*) from runs") == [(1,)]


def test_a_deleted_run_is_recreated(runs: Path) -> None:
    """A run that somebody deleted does not stop the delivery: it gets another one, which says what it replaces."""
    run, replaces = runs / "run", "select run_uuid, value from tags where key = 'runcast.replaces'"
    drive(run, SETUP, ["finish", "killed"])
    began, _ = drive(run, SETUP, ["finish", "killed"])
    resumed = select(runs, replaces)
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as database, database:
        database.execute("update runs set lifecycle_stage = 'deleted'")

    named = {"MLFLOW_RUN_ID": began["ids"]["run_id"]}  # in a job that resumes it
    again, _, seen = drive(run, SETUP, ["finish", "finished"], READ, **named)

    assert again["ids"]["run_id"] != began["ids"]["run_id"]
    assert seen["status"] == "finished"
    assert (resumed, select(runs, replaces)) == ([], [(again["ids"]["run_id"], began["ids"]["run_id"])])


def test_files_are_found_after_the_folder_of_all_runs_was_moved(tmp_path: Path, runs: Path) -> None:
    """MLflow stores absolute paths; those of our own store follow it, so that its pages and `verify` show the files."""
    (tmp_path / "file.txt").write_text("hello")
    artifact = ["log_artifact", "file.txt", "config", str(tmp_path / "file.txt")]
    drive(runs / "run", SETUP, artifact)

    moved = Path(shutil.move(runs, tmp_path / "it's elsewhere"))
    before, _, _, after = drive(moved / "run", READ, SETUP, ["log_artifact", "b", "config", artifact[3]], READ)

    assert (before["artifacts"], after["artifacts"]) == (["file.txt"], ["b", "file.txt"])
    assert not runs.exists()


def test_mlflows_own_variables_keep_their_meaning(tmp_path: Path) -> None:
    """A local URI, the experiment, tags and the cap on params come from the environment; init's argument beats it."""
    environment = {"MLFLOW_TRACKING_URI": "sqlite:///own.db", "MLFLOW_EXPERIMENT_NAME": "theirs"}
    environment |= {"MLFLOW_TAGS": '{"team": "vision"}', "MLFLOW_MAX_LOG_PARAMS": "2"}
    first, second = tmp_path / "runs" / "first", tmp_path / "runs" / "second"

    drive(first, SETUP, ["log_params", {"a": 1, "b": 2, "c": 3}], ["finish", "finished"], **environment)
    (seen,) = drive(first, READ)
    began, *_ = drive(second, ["setup", {"project": "ours", "given": ["project"]}], **environment)

    assert seen["params"] == {"a": "1", "b": "2"}
    assert began["url"] == f"sqlite:///{tmp_path}/runs/own.db"
    (tmp_path / "runs" / "own.db").rename(tmp_path / "runs" / "mlflow.db")
    names = "select name from experiments where experiment_id in (select experiment_id from runs) order by 1"
    assert select(tmp_path / "runs", names) == [("ours",), ("theirs",)]
    assert select(tmp_path / "runs", "select value from tags where key = 'team'") == [("vision",)] * 2


def test_a_call_returns_when_the_store_has_what_it_logs(runs: Path) -> None:
    """MLFLOW_ENABLE_ASYNC_LOGGING would let a delivery count what a kill loses."""
    drive(runs / "run", SETUP, ["log_params", {"a": 1}], ["kill"], MLFLOW_ENABLE_ASYNC_LOGGING="true")
    (seen,) = drive(runs / "run", READ)

    assert (seen["params"], seen["status"]) == ({"a": "1"}, "running")


def test_a_run_that_is_open_elsewhere_is_joined_and_stays_open(runs: Path) -> None:
    """MLFLOW_RUN_ID joins a run; who opened it ends it. One that has ended already is opened again, and ended by us."""
    owner, guest, next_one = (runs / name for name in ("owner", "guest", "next"))
    began, _ = drive(owner, SETUP, ["log_metrics", [["a", 1, 1, 1.0]]])
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as database, database:
        database.execute("delete from tags where key like 'runcast.%'")
    joined = {"MLFLOW_RUN_ID": began["ids"]["run_id"]}

    *_, seen = drive(guest, SETUP, ["log_metrics", [["a", 2, 2, 1.0]]], ["finish", "failed"], READ, **joined)
    status = select(runs, "select status from runs")
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as database, database:
        database.execute("update runs set status = 'FINISHED'")
    drive(next_one, SETUP, ["finish", "killed"], **joined)

    assert (seen["points"], seen["status"]) == ([["a", 1.0, 1], ["a", 2.0, 2]], "failed")
    assert status == [("RUNNING",)]
    assert select(runs, "select status from runs") == [("KILLED",)]


def test_what_mlflow_cannot_hold_is_refused_and_the_rest_is_kept(tmp_path: Path, runs: Path) -> None:
    """A step of more than 64 bits, a summary text that is too long and a missing file are errors that say so."""
    _, step, summary, artifact, seen = drive(
        runs / "run",
        SETUP,
        ["log_metrics", [["a", 1, 2**63, 1.0]]],
        ["log_summary", {"long": "x" * 9000, "short": 1}],
        ["log_artifact", "gone", "file", str(tmp_path / "gone")],
        READ,
    )

    assert [error[0] for error in (step, summary, artifact)] == ["FinalError"] * 3
    assert (seen["points"], seen["summary"], seen["artifacts"]) == ([], {"short": 1}, [])


def test_a_store_that_is_locked_is_retried_and_a_damaged_one_is_named(runs: Path) -> None:
    """A lock is waited for and may go; a file that is no database is an error that says which one."""
    with contextlib.closing(sqlite3.connect(runs / "mlflow.db")) as database:
        database.execute("begin exclusive")
        (locked,) = drive(runs / "run", SETUP)
    (runs / "mlflow.db").write_bytes(b"no database" * 100)
    (damaged,) = drive(runs / "run", SETUP)

    assert locked == ["RetryableError", f"sqlite:///{runs}/mlflow.db: database is locked"]
    assert damaged == ["FinalError", f"sqlite:///{runs}/mlflow.db: file is not a database"]


@pytest.mark.slow
def test_a_server_holds_the_same_as_a_local_store(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """Over HTTP every key, value and file comes back as well, and the URL leads to the run."""
    began, *_, seen = drive(
        tmp_path / "runs" / "run",
        ["setup", {"notes": "a note", "group": "a group", **ONLINE}],
        *write_everything(tmp_path),
        ["finish", "crashed"],
        ["read", ONLINE],
        MLFLOW_TRACKING_URI=mlflow_server.url,
    )

    check_everything(seen)
    assert seen["status"] == "crashed"
    experiment, _, run_id = began["url"].removeprefix(f"{mlflow_server.url}/#/experiments/").partition("/runs/")
    assert (experiment.isdigit(), run_id) == (True, began["ids"]["run_id"])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


@pytest.mark.slow
def test_a_server_keeps_files_of_any_name(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """What a path over HTTP does to names, such as taking a blank away, loses nothing."""
    checks = ("media", "artifacts")

    found = check_tracker(MlflowTracker, tmp_path, only=checks, options={"tracking_uri": mlflow_server.url})

    assert [check.outcome for check in found] == ["passed", "passed"]


def test_an_artifact_in_whose_place_another_lies_has_a_folder_of_its_own_on_a_server(
    tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    """A server that keeps files in folders can hold no file that is a folder, too, and would mix two folders."""
    file, folder = tmp_path / "weights", tmp_path / "folder"
    (folder / "part").mkdir(parents=True)
    (folder / "part" / "weights").write_text("of the folder")
    file.write_text("alone")
    names = (("model", file), ("model/part", file), ("all/part/weights", file), ("all", folder), ("model", folder))
    *answers, seen = drive(
        tmp_path / "runs" / "nested",
        ["setup", ONLINE],
        *(["log_artifact", name, "model", str(path)] for name, path in names),
        ["finish", "finished"],
        ["read", ONLINE],
        MLFLOW_TRACKING_URI=mlflow_server.url,
    )

    (root,) = mlflow_server.folder.glob(f"files/*/{answers[0]['ids']['run_id']}/artifacts")
    files = {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}
    assert answers[1:] == [None] * 6
    assert {re.sub("^_0x[0-9a-f]{8}_/", "_/", name): text for name, text in files.items()} == {
        "model": "alone",
        "_/model/part/weights": "of the folder",
        "_/model/part": "alone",
        "all/part/weights": "alone",
        "_/all/part/weights": "of the folder",
    }
    assert seen["artifacts"] == ["all", "all/part/weights", "model", "model/part"]


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back_is_retried(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """While the server is away every call says so, long before MLflow would; afterwards the same run goes on, on the same server."""
    run, there = tmp_path / "runs" / "patient", {"MLFLOW_TRACKING_URI": mlflow_server.url}
    log = ["log_metrics", [["a", 1, 1, 1.0]]]
    drive(run, ["setup", ONLINE], log, **there)
    mlflow_server.stop()

    try:
        away = drive(run, ["setup", ONLINE], ["read", ONLINE], **there)
    finally:
        mlflow_server.start()
    offline = drive(run, SETUP)
    *_, seen = drive(
        run, ["setup", ONLINE], ["log_metrics", [["a", 2, 2, 1.0]]], ["finish", "finished"], ["read", ONLINE]
    )

    assert [answer[0] for answer in away] == ["RetryableError"] * 2
    assert offline[0][0] == "FinalError"
    assert "Set MLFLOW_TRACKING_URI" in offline[0][1]
    assert (seen["points"], seen["status"]) == ([["a", 1.0, 1], ["a", 2.0, 2]], "finished")


class OldServer(http.server.BaseHTTPRequestHandler):
    """Stands before a real server, and refuses params of more than 500 characters, as servers before MLflow 2.15 do."""

    server_url = ""

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        params = (json.loads(body).get("params") or []) if self.path.endswith("/log-batch") else []
        if any(len(param["value"]) > 500 for param in params):
            said = "Param value had length above the 500 limit"  # for the whole batch, of which nothing is stored
            self._answer(400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": said}).encode())
            return
        self._pass_on(body)

    do_PATCH = do_PUT = do_POST

    def _pass_on(self, body: bytes | None) -> None:
        request = urllib.request.Request(self.server_url + self.path, body, method=self.command)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self._answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Keep quiet."""


TRAINING = """
import sys, time
import runcast
run = runcast.init("old", config={"lr": 0.5, "layers": 3, "name": "x"}, report_to="mlflow", dir=sys.argv[1], id="run")
run.log_params({"prompt": "y" * 3000, "last": 1})
deadline = time.monotonic() + 90
while time.monotonic() < deadline and not run.statistics().trackers["mlflow"].refused:
    run.log({"loss": 0.5})
    time.sleep(0.1)
run.finish()
"""


@pytest.mark.slow
def test_a_param_that_an_older_server_refuses_costs_no_other_and_is_reported(
    tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    """A server that allows 500 characters: four of five params arrive, the long one is named, and `verify` is not green."""
    handler = type("Handler", (OldServer,), {"server_url": mlflow_server.url})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as old:
        threading.Thread(target=old.serve_forever, daemon=True).start()
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{old.server_port}"}
        options: dict[str, Any] = {"env": environment, "capture_output": True, "text": True}
        trained = subprocess.run([sys.executable, "-c", TRAINING, str(tmp_path)], check=False, **options)
        runcast = [sys.executable, "-m", "runcast"]
        synced = subprocess.run([*runcast, "sync", str(tmp_path / "run")], check=False, **options)
        verified = subprocess.run([*runcast, "verify", str(tmp_path / "run")], check=False, **options)
        old.shutdown()

    run_id = json.loads((tmp_path / "run/trackers/mlflow/state.json").read_text())["ids"]["run_id"]
    with contextlib.closing(sqlite3.connect(mlflow_server.folder / "server.db")) as database:
        stored = dict(database.execute("select key, value from params where run_uuid = ?", (run_id,)))
    refusal = "refused 1 param ('prompt'): INVALID_PARAMETER_VALUE: Param value had length above the 500 limit."
    assert stored == {"lr": "0.5", "layers": "3", "name": "x", "last": "1"}
    assert trained.returncode == 0
    assert trained.stderr.count(refusal) == 1, trained.stderr
    assert f"runcast sync {tmp_path / 'run'}" in trained.stderr
    assert refusal in " ".join(synced.stdout.split())
    assert (verified.returncode, refusal in " ".join(verified.stdout.split())) == (1, True)


def test_a_run_in_a_folder_is_read_without_the_variable_that_allowed_it(tmp_path: Path) -> None:
    """MLflow opens a store of plain files only where MLFLOW_ALLOW_FILE_STORE is set; for a run that is there, it was."""
    run, points = tmp_path / "runs" / "run", [["loss", 0.5, 3, 1.7e9]]
    allowed = {"MLFLOW_TRACKING_URI": f"file:{tmp_path / 'store'}", "MLFLOW_ALLOW_FILE_STORE": "true"}

    drive(run, ["setup", {}], ["log_metrics", points], ["finish", "finished"], **allowed)
    [seen] = drive(run, ["read", {}])

    assert seen["points"] == [["loss", 0.5, 3]]


class Busy(OldServer):
    """Answers that it is asked too much, and for how long it wants to be left alone."""

    def _pass_on(self, body: bytes | None) -> None:
        self.send_response(429)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()


WISH = """
import sys
from pathlib import Path
from runcast.core.errors import RetryableError
from runcast.delivery.attempts import explained
from runcast.integrations.contract import TrackedRun
from runcast.integrations.mlflow import MlflowTracker
folder, tracker = Path(sys.argv[1]), MlflowTracker()
about = dict(id="run", name="run", project="p", created=1.7e9, online=True, variables=tracker.variables)
run = TrackedRun(directory=folder, local=folder, **about)
run.ids.update(run_id="0" * 32, tracking_uri=sys.argv[3])
try:
    explained(tracker.explain, lambda: getattr(tracker, sys.argv[2])(run))
except RetryableError as error:
    print(error.retry_after_s)
"""


@pytest.mark.parametrize("first", ["exists", "read", "setup"])
def test_the_pause_that_a_server_asks_for_is_known_whatever_was_called_first(first: str, tmp_path: Path) -> None:
    """A process that takes over a run asks whether it exists, before anything else; the pause is that of Retry-After."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": address, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
        answer = subprocess.run(
            [sys.executable, "-c", WISH, str(tmp_path), first, address],
            env=environment,
            capture_output=True,
            text=True,
        )
        server.shutdown()

    assert answer.stdout == "7.0\n", answer.stderr
