"""W&B, written by the tracker in a process of its own; read back by it, by W&B's own commands, from a server."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect.selection import decide
from runcast.history.replaying import replay
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from tests.integrations.driving import DRIVE, StandIn, driver, refusing

SETUP, READ, KILL = ["setup", {}], ["read", {}], ["kill"]
ONLINE = ["setup", {"online": True}]
EAGER = ["setup", {"online": True, "options": {"settings": {"x_file_stream_transmit_interval": 1}}}]


drive = driver("wandb")


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def log(*points: tuple[Any, ...]) -> list[Any]:
    """Write a call that logs points, each (key, value, step) or (key, value, step, time)."""
    return ["log_metrics", [[*point, 1.7e9][:4] for point in points]]


def inspect(run: Path, kind: str) -> list[dict[str, Any]]:
    """Read the records of one kind from a run's transaction files with W&B's own command."""
    found = []
    for file in sorted((run / "trackers" / "wandb" / "wandb").glob("*run-*/*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in output.splitlines()]
        found += [record[kind] for record in records if record["type"] == kind]
    return found


def history(run: Path) -> list[dict[str, Any]]:
    """Read the rows of a run's transaction files, without what W&B adds by itself."""
    rows = [row["item"] for row in inspect(run, "history")]
    return [{key: value for key, value in row.items() if key not in ("_step", "_runtime")} for row in rows]


class Server(StandIn):
    """The stand-in for W&B's server."""

    service = "wandb"

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        self.environment = {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0123456789" * 4}

    def rows(self) -> list[tuple[int, float]]:
        """List the step and the loss of each row that was sent."""
        files = [body.get("files", {}).get("wandb-history.jsonl", {}) for body in self.bodies("/file_stream")]
        rows = [json.loads(row) for file in files for row in file.get("content", [])]
        return [(row["global_step"], row["loss"]) for row in rows if "loss" in row]

    def replaced(self) -> set[str]:
        """List the runs that the runs say they replace."""
        sent = [(body.get("variables") or {}).get("config") for body in self.bodies("/graphql")]
        configs = [json.loads(config) for config in sent if config]
        return {config["runcast/replaces"]["value"] for config in configs if "runcast/replaces" in config}

    def exit_codes(self) -> list[int]:
        """List how the run ended, each time."""
        return [body["exitcode"] for body in self.bodies("/file_stream") if body.get("complete")]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Start the stand-in."""
    server = Server(tmp_path)
    yield server
    server.stop()


def write_everything(folder: Path) -> list[list[Any]]:
    """List calls that log something of every kind, with whatever is hard for W&B."""
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "in" / "sub" / "file").write_text("1")
    files = {
        "file.txt": "<b>hello</b>",
        "table.csv": "a,b\n1,x\n2.5,y\n",
        "bars.json": '{"counts": [1], "edges": [0, 1]}',
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return [
        ["log_params", {"lr": 0.1, "a/b.c": "x", "-dash-": True, "": 1, "none": None, "_wandb": 2, "global_step": 3}],
        ["log_params", {"lr": 0.2}],
        log(("loss", 0.5, 7), ("loss", 0.5, 7), ("loss", "NaN", 7), ("acc", "Infinity", 7), ("acc", "-Infinity", 3)),
        log(("a.b/c", 2**53 + 1, -5), ("", 1, 2**40), ("é💩\n", 1e300, 0), ("global_step", 4, 0), ("_timestamp", 5, 0)),
        ["log_summary", {"loss": 0.25, "word": "text", "ok": True}],
        log(("loss", 0.75, 8)),
        ["add_tags", ["one", "two, three"]],
        ["log_media", "a/words", 3, "text", str(folder / "file.txt")],
        ["log_media", "table", 3, "table", str(folder / "table.csv")],
        ["log_media", "bars", 4, "histogram", str(folder / "bars.json")],
        ["log_artifact", "a file.txt", "config", str(folder / "file.txt")],
        ["log_artifact", "folder", "job", str(folder / "in")],
    ]


def test_an_alert_that_comes_late_says_of_when_it_is(tmp_path: Path) -> None:
    """A run that waited for a network sends its e-mails then, and nobody takes them for news."""
    (tmp_path / "alert.txt").write_text("error: NaN loss\n\nin layer 3")
    alert = ["log_media", "alerts", 0, "text", str(tmp_path / "alert.txt"), "error: NaN loss"]

    drive(tmp_path / "run", SETUP, alert, ["finish", "finished", None])

    (sent,) = inspect(tmp_path / "run", "alert")
    text = "2023-11-14 22:13 UTC\n\nin layer 3"  # 1.7e9, the time of all that is driven
    assert (sent["title"], sent["text"], sent["level"]) == ("NaN loss", text, "ERROR")


@pytest.mark.parametrize("status", ["finished", "failed", "killed", "crashed"])
def test_what_is_logged_is_read_back_with_its_status(tmp_path: Path, status: str) -> None:
    """W&B's files hold odd values, steps and keys as they are, what a run is called, and how it ended."""
    who = {"name": "größe", "group": "a group", "notes": "two\nlines", "given": ["name", "group", "notes"]}

    answers = drive(
        tmp_path / "run", ["setup", who], *write_everything(tmp_path), ["finish", status, "why"], ["network"]
    )
    (seen,) = drive(tmp_path / "run", READ)

    assert answers[0]["url"].startswith(str(tmp_path / "run" / "trackers" / "wandb" / "wandb" / "offline-run-"))
    assert [*answers[1:-1]] == [None] * (len(answers) - 2)
    assert answers[-1] == []
    assert seen["points"] == [
        ["", 1, 2**40],
        ["_timestamp", 5, 0],
        ["a.b/c", 2**53 + 1, -5],
        ["acc", "-Infinity", 3],
        ["acc", "Infinity", 7],
        ["global_step", 4, 0],
        ["loss", "NaN", 7],
        ["loss", 0.5, 7],
        ["loss", 0.5, 7],
        ["loss", 0.75, 8],
        ["é💩\n", 1e300, 0],
    ]
    assert seen["params"] == {
        "lr": 0.2,
        "a/b.c": "x",
        "-dash-": True,
        "": 1,
        "none": None,
        "_wandb": 2,
        "global_step": 3,
    }
    assert seen["summary"] == {"loss": 0.25, "word": "text", "ok": True}
    assert seen["tags"] == ["one", "two, three"]
    assert seen["media"] == [["a/words", 3], ["bars", 4], ["table", 3]]
    assert seen["artifacts"] == ["a file.txt", "folder"]
    assert [seen[field] for field in ("status", "name", "group", "notes")] == [status, "größe", "a group", "two\nlines"]
    assert not list((tmp_path / "home").iterdir())


def test_rows_have_a_step_of_their_own_and_the_time_at_which_they_were_logged(tmp_path: Path) -> None:
    """Points of one record are one row, in the order in which they came, as W&B's own command shows it."""
    points = log(("loss", 1.5, 9, 1.7e9), ("acc", 0.5, 9, 1.7e9), ("loss", 1.25, 4, 1.6e9), ("loss", 1.25, 4, 1.6e9))

    drive(tmp_path / "run", SETUP, points, ["finish", "finished"])

    rows = history(tmp_path / "run")
    assert [(row["global_step"], row.get("loss"), row.get("acc")) for row in rows] == [
        (9, 1.5, 0.5),
        (4, 1.25, None),
        (4, 1.25, None),
    ]
    assert [row["_timestamp"] for row in rows] == [1.7e9, 1.6e9, 1.6e9]


def test_a_killed_process_is_followed_by_one_that_knows_what_survived(tmp_path: Path, server: Server) -> None:
    """After SIGKILL `read` shows what is in the file; all sessions are one run for it, and for `wandb sync`."""
    run = tmp_path / "run"

    drive(run, SETUP, log(("loss", 1, 1), ("loss", 2, 2)), ["add_tags", ["kept"]], READ, KILL)
    survived, *_, seen = drive(run, READ, SETUP, log(("loss", 0, 3)), ["finish", "failed"], READ)

    assert survived["points"] == [["loss", 1, 1], ["loss", 2, 2]]
    assert survived["status"] == "running"
    assert seen["points"] == [["loss", 0, 3], ["loss", 1, 1], ["loss", 2, 2]]
    assert seen["status"] == "failed"
    assert seen["tags"] == ["kept"]
    folders = sorted(map(str, (run / "trackers" / "wandb" / "wandb").glob("offline-run-*")))
    command = [sys.executable, "-m", "wandb", "sync", *folders]
    environment = {**os.environ, **server.environment}
    subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, check=True)
    assert server.rows() == [(1, 1), (2, 2), (3, 0)]


def test_the_users_variables_keep_their_meaning(tmp_path: Path) -> None:
    """WANDB_* say where a run goes and what it is called; an argument of init beats them."""
    variables = {"WANDB_NAME": "theirs", "WANDB_NOTES": "n", "WANDB_TAGS": "x, y", "WANDB_RUN_GROUP": "g"}
    places = {
        "WANDB_DIR": str(tmp_path / "there"),
        "WANDB_RUN_ID": "their-id",
        "WANDB_PROJECT": "p",
        "WANDB_ENTITY": "e",
    }
    (tmp_path / "there").mkdir()

    answers = drive(
        tmp_path / "run",
        ["setup", {"name": "ours", "group": "ours", "given": ["group"]}],
        ["finish", "finished"],
        READ,
        **variables,
        **places,
    )
    seen = answers[-1]

    assert answers[0]["ids"]["id"] == "their-id"
    assert list((tmp_path / "there" / "wandb").glob("offline-run-*-their-id/run-their-id.wandb"))
    assert [seen[field] for field in ("name", "group", "notes", "tags")] == ["theirs", "ours", "n", ["x", "y"]]


def test_an_option_that_wandb_does_not_have_is_named(tmp_path: Path) -> None:
    """Other options of `setup` go to wandb.init; a wrong one is an error that names it."""
    good = drive(tmp_path / "a", ["setup", {"options": {"job_type": "eval", "settings": {"summary_timeout": 5}}}], READ)
    bad = drive(tmp_path / "b", ["setup", {"options": {"job_typ": "eval"}}], ["finish", "finished"])

    assert good[0]["url"]
    assert bad[0][0] == "FinalError"
    assert "job_typ" in bad[0][1]


JOINED = """
import sys, wandb
from pathlib import Path
from runcast.integrations.contract import Ending, Point, TrackedRun
from runcast.integrations.wandb import WandbTracker

folder = Path(sys.argv[1])
with wandb.init(dir=folder, project="theirs", mode="offline") as mine:
    mine.log({"own": 1})
    tracker = WandbTracker()
    local = folder / "local"
    run = TrackedRun(id="ours", name="n", project="p", directory=folder, local=local, created=1.0, online=False)
    tracker.setup(run)
    tracker.log_metrics([Point("loss", 0.5, 3, 1.7e9)])
    tracker.finish(Ending("failed"))
    assert wandb.run is mine
    mine.log({"own": 2})
print([tuple(point)[:3] for point in WandbTracker().read(run).points if point.key == "loss"], run.ids["id"] == mine.id)
"""


def test_a_run_that_the_user_opened_is_joined_and_left_open(tmp_path: Path) -> None:
    """With delivery in a thread, what is reported goes to the run that is there, and closing that is the user's."""
    done = python(JOINED, tmp_path, WANDB_SILENT="true")

    assert done.stdout.splitlines()[-1:] == ["[('loss', 0.5, 3)] True"], done.stderr


LOST = """
import os, sys, psutil
from pathlib import Path
from runcast.delivery.attempts import explained
from runcast.integrations.contract import Ending, Point, TrackedRun
from runcast.integrations.wandb import WandbTracker

folder = Path(sys.argv[1])
tracker = WandbTracker()
run = TrackedRun(id="run", name="n", project="p", directory=folder, local=folder, created=1.0, online=False)
tracker.setup(run)
tracker.log_metrics([Point("loss", 0.5, 3, 1.7e9)])
assert tracker.read(run).points
for child in psutil.Process().children():
    child.kill()
    child.wait()
while True:
    explained(tracker.explain, lambda: tracker.log_metrics([Point("loss", 0.5, 4, 1.7e9)]))
"""


def test_a_dead_wandb_core_ends_the_delivery_process(tmp_path: Path) -> None:
    """Nothing can be logged without it, so the process ends, and the next one goes on with what is in the file."""
    done = python(LOST, tmp_path, WANDB_SILENT="true", WANDB_MODE="offline")

    assert done.returncode == 1
    assert "wandb-core is gone" in done.stderr


def test_online_rows_and_status_reach_the_server(tmp_path: Path, server: Server) -> None:
    """With credentials everything goes to W&B, while the local file still tells what was given to it."""
    calls = [
        ["log_params", {"lr": 0.1}],
        log(("loss", 0.5, 7, 1.6e9), ("loss", "NaN", 3)),
        ["log_summary", {"best": 1}],
        ["log_artifact", "words", "file", str(DRIVE)],
    ]

    answers = drive(tmp_path / "run", ONLINE, *calls, ["finish", "killed"], **server.environment)
    (seen,) = drive(tmp_path / "run", READ)

    assert answers == [answers[0], *[None] * 5]
    assert answers[0]["url"] == f"{server.url}/e/a%20project/runs/run"
    assert [row[0] for row in server.rows()] == [7, 3]
    assert server.rows()[0] == (7, 0.5)
    assert server.exit_codes() == [255]
    assert seen["artifacts"] == ["words"]
    assert seen["points"] == [["loss", "NaN", 3], ["loss", 0.5, 7]]
    assert seen["status"] == "killed"


def test_what_an_earlier_process_left_goes_up_before_the_run_goes_on(tmp_path: Path, server: Server) -> None:
    """An offline session is sent when the run goes on online; of a killed online one what the server has counts as held."""
    run = tmp_path / "run"

    drive(run, SETUP, log(("loss", 1, 1)), ["finish", "finished"])
    drive(run, ONLINE, log(("loss", 2, 2)), READ, KILL, **server.environment)
    _, seen = drive(run, ONLINE, READ, **server.environment)
    rest = [point for point in (("loss", 1, 1), ("loss", 2, 2), ("loss", 3, 3)) if list(point) not in seen["points"]]
    *_, at_end = drive(run, ONLINE, log(*rest), READ, ["finish", "failed"], READ, **server.environment)

    assert at_end["points"] == [["loss", 1, 1], ["loss", 2, 2], ["loss", 3, 3]]
    assert server.rows() == [(1, 1), (2, 2), (3, 3)]
    assert server.exit_codes()[-1] == 1


def test_a_run_cannot_be_finished_while_the_server_is_away(tmp_path: Path, server: Server) -> None:
    """`finish` gives up in time and says so; a later process knows that nothing has arrived."""
    run, variables = tmp_path / "run", {**server.environment, "WANDB_FINISH_TIMEOUT": "2"}

    first = drive(run, ONLINE, log(("loss", 1, 1)), ["kill", server.process.pid], ["finish", "finished"], **variables)
    server.stop()
    later = Server(tmp_path, int(server.url.rpartition(":")[2]))
    second = drive(run, ONLINE, READ, log(("loss", 1, 1)), ["finish", "finished"], **variables)
    later.stop()

    assert first[3][0] == "RetryableError"
    assert second[1]["points"] == []
    assert later.rows() == [(1, 1)]


@pytest.mark.parametrize("moment", ["while it is written", "when it is finished"])
def test_a_run_that_is_deleted_meanwhile_is_recreated(tmp_path: Path, server: Server, moment: str) -> None:
    """The SDK sends in the background and tells nobody that nothing arrives: the delivery finds it out, and why."""
    run, delete = tmp_path / "run", ["fetch", f"{server.url}/standin/delete"]
    points = [("loss", float(step), step) for step in range(3)]
    noticed = ["insist"] if moment == "while it is written" else ["finish", "finished"]

    answers = drive(
        run, EAGER, log(points[0]), ["held", server.url, 1], delete, log(points[1]), ["refused", server.url, 1],
        ["unless_gone", *noticed], ["fresh"],
        EAGER, READ, log(*points), ["finish", "finished"], READ, WANDB_FINISH_TIMEOUT="2", **server.environment,
    )  # fmt: skip

    began, *before, again, lacking, _, _, seen = answers
    (gone,) = filter(None, before)  # at the latest by then
    assert (gone[0], "404" in gone[1]) == ("GoneError", True)
    assert (began["ids"]["id"], again["ids"]["id"]) == ("run", "run-anew-2")
    assert lacking["points"] == []
    assert (seen["points"], seen["status"], seen["params"]) == ([["loss", s, s] for s in range(3)], "finished", {})
    held = json.load(urllib.request.urlopen(f"{server.url}/standin/held"))
    assert [point for point in held if point[0] == "loss"] == [["loss", s, s] for s in range(3)]
    assert server.replaced() == {"run"}


def upserts_of(server: Server, run: str) -> int:
    """Count how often W&B was asked to open a run."""
    return sum(
        "UpsertBucket" in (body.get("operationName") or body["query"]) and body["variables"].get("name") == run
        for body in server.bodies("/graphql")
    )


def test_a_run_that_was_deleted_before_it_is_resumed_is_recreated(tmp_path: Path, server: Server) -> None:
    """W&B is asked first: it would refuse the id again and again. Another server, which never had it, is not believed."""
    run = tmp_path / "run"
    drive(run, ONLINE, log(("loss", 1, 1)), ["finish", "failed"], **server.environment)
    urllib.request.urlopen(f"{server.url}/standin/delete").close()
    asked = upserts_of(server, "run")
    (refused, *_) = drive(
        run, ONLINE, **{**server.environment, "WANDB_BASE_URL": server.url.replace("127.0.0.1", "localhost")}
    )
    assert (refused[0], f"The run is on {server.url}" in refused[1]) == ("FinalError", True)

    again, lacking, *_, seen = drive(
        run, ONLINE, READ, log(("loss", 1, 1)), ["finish", "finished"], READ, **server.environment
    )

    assert upserts_of(server, "run") == asked
    assert again["ids"]["id"] == "run-anew-2"
    assert (lacking["points"], seen["points"]) == ([], [["loss", 1, 1]])
    assert server.replaced() == {"run"}


def test_a_local_run_that_is_sent_online_again_is_there_once(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept locally stays on the disk, and is neither sent nor counted beside what is sent."""
    with runcast.init("p", report_to="wandb", dir=tmp_path / "runs", id="run", offline=True) as run:
        run.log({"loss": 0.5}, step=1)
    directory = RunDirectory(run.dir)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

    again = replay(directory, "wandb", decide=decide, again=True)
    (verdict,) = verify(directory, ["wandb"])

    assert (again.result, again.delivered) == ("complete", 1)
    assert server.rows() == [(1, 0.5)]
    assert (verdict.problems(), verdict.logged, verdict.found) == ([], 1, 1)
    assert list(directory.tracker("wandb").glob("local/wandb/offline-run-*/run-run.wandb"))


def test_rows_that_are_refused_for_another_reason_end_the_delivery_process(tmp_path: Path, server: Server) -> None:
    """After such an answer the SDK sends nothing more, even if it would be taken: the next process does."""
    run, calls = (
        tmp_path / "run",
        [EAGER, log(("loss", 1, 1)), ["held", server.url, 1], ["fetch", f"{server.url}/standin/refuse?403"]],
    )
    calls += [log(("loss", 2, 2)), ["refused", server.url, 1], ["fetch", f"{server.url}/standin/refuse"], ["insist"]]

    done = subprocess.run(
        [sys.executable, str(DRIVE), "wandb", str(run)], input=json.dumps(calls), capture_output=True, text=True,
        env={**os.environ, **server.environment}, check=False,
    )  # fmt: skip
    again, survived, *_ = drive(
        run, EAGER, READ, log(("loss", 2, 2), ("loss", 3, 3)), ["finish", "finished"], **server.environment
    )

    kind, said = json.loads(done.stdout)[-1]
    assert kind == "RestartError"
    assert "W&B takes nothing more" in said
    assert again["ids"]["id"] == "run"
    assert survived["points"] == [["loss", 1, 1]]
    assert server.rows() == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(("status", "error"), [(401, "FinalError"), (404, "FinalError"), (500, "RetryableError")])
def test_a_refusal_is_final_and_a_failing_server_is_not(tmp_path: Path, status: int, error: str) -> None:
    """A wrong key is told at once; what may pass is tried again by the delivery."""
    with refusing(status) as address:
        variables = {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0123456789" * 4}
        answers = drive(tmp_path / "run", ONLINE, ["finish", "finished"], WANDB_INIT_TIMEOUT="2", **variables)

    assert answers[0][0] == error, answers[0][1]
    assert answers[1] is None
