"""Starting a run: where it lies, what it remembers, what is wrong with what was asked, how it ends by itself."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.core.errors import JournalError, OptionError, UnknownTrackerError
from runcast.journal.records import Artifact, Finish, Metrics, Params, Start as StartRecord, Tags
from tests.journals import records

Start = Callable[..., runcast.Run]


def test_a_run_may_log_at_once_and_lies_in_a_folder_of_its_own(start: Start, tmp_path: Path) -> None:
    """`init` makes the folder, the identity and the journal, for the owner's eyes only."""
    run = start(name="lucky", tags=["a"], group="g", notes="n")

    file = json.loads((run.dir / "run.json").read_text())
    assert run.dir == tmp_path / "runs" / run.id
    assert (file["id"], file["name"], file["project"], file["group"], file["notes"], file["tags"]) == (
        run.id, "lucky", "test", "g", "n", ["a"],
    )  # fmt: skip
    assert file["pid"] == os.getpid()
    assert [type(record) for record in records(run)] == [StartRecord, Tags]
    assert stat.S_IMODE(run.dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((run.dir / "run.json").stat().st_mode) == 0o600


def test_a_run_without_a_name_gets_one(start: Start) -> None:
    """Names are words that people can say, ids are times with random digits; two runs of one second differ."""
    one, two = start(), start()

    assert re.fullmatch(r"[a-z]+-[a-z]+-\d+", one.name)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", one.id)
    assert one.id != two.id


def test_the_project_is_the_working_folder_unless_told(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a project the name of the working directory groups the runs."""
    (tmp_path / "mnist").mkdir()
    monkeypatch.chdir(tmp_path / "mnist")

    assert start(project=None).project == "mnist"


def test_the_config_is_kept_flat_as_params_and_whole_as_a_file(start: Start) -> None:
    """What was configured is in the journal for the trackers, and as one file, without its secrets."""
    run = start(config={"lr": 0.5, "model": {"layers": [1, 2]}, "password": "hunter2hunter2"})

    (params,) = records(run, Params)
    (artifact,) = records(run, Artifact)
    whole = json.loads((run.dir / artifact.path).read_text())
    assert params.values["lr"] == 0.5
    assert (artifact.name, artifact.kind) == ("config.json", "config")
    assert whole["model"] == {"layers": [1, 2]}
    assert run.config["model"] == {"layers": [1, 2]}
    assert len(list(run.dir.rglob("config.json"))) == 1
    for file in run.dir.rglob("*"):
        assert file.is_dir() or b"hunter2hunter2" not in file.read_bytes()


def test_a_config_is_not_changed(start: Start) -> None:
    """Redaction and flattening happen to a copy."""
    config = {"password": "hunter2hunter2", "nested": {"a": [1]}}

    start(config=config)

    assert config == {"password": "hunter2hunter2", "nested": {"a": [1]}}


def test_a_secret_on_the_command_line_is_redacted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """run.json holds the command line, but no key in it."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "0.5", "--api-key", "sk-1234567890abcdef1234"])

    run = start()

    argv = json.loads((run.dir / "run.json").read_text())["argv"]
    assert argv[:4] == ["train.py", "--lr", "0.5", "--api-key"]
    assert "1234567890abcdef" not in str(argv)


# Resuming


def test_an_id_that_exists_is_an_error(start: Start) -> None:
    """A run is never overwritten by accident; the message says how to go on with it."""
    start(id="run-1").finish()

    with pytest.raises(OptionError, match=r"the run 'run-1' exists in .*runs\. Resume it with resume='allow'"):
        start(id="run-1")


def test_resuming_goes_on_with_the_same_run(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    """The journal grows, the identity stays, a new session begins, and changed params are told, not fatal."""
    first = start(id="run-1", name="lucky", project="p", config={"lr": 0.5, "layers": 2})
    first.log({"loss": 0.5}, step=0)
    first.finish("killed")

    second = start(id="run-1", resume="allow", project=None, config={"lr": 0.25, "layers": 2})
    second.log({"loss": 0.25}, step=1)
    second.finish()

    assert (second.name, second.project, second.dir) == ("lucky", "p", first.dir)
    assert [record.session for record in records(second, StartRecord)] == [1, 2]
    assert [record.step for record in records(second, Metrics)] == [0, 1]
    assert [record.status for record in records(second, Finish)] == ["killed", "finished"]
    assert "resumed with changed params: lr" in capfd.readouterr().err
    assert (
        json.loads((first.dir / "run.json").read_text())["created"]
        < json.loads((first.dir / "run.json").read_text())["started"]
    )


def test_params_that_changed_are_told_once_wherever_they_are_logged(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    """A trainer that logs its params after the run was opened is told which had another value, each of them once."""
    with start(id="run-1") as first:
        first.log_params({"lr": 0.5, "layers": {"count": 2}, "seed": 0})
    capfd.readouterr()

    with start(id="run-1", resume="allow") as second:
        second.log_params({"lr": 0.25, "layers": {"count": 3}, "seed": 0, "new": True})
        second.log_params({"lr": 0.125})

    told = [line for line in capfd.readouterr().err.splitlines() if "changed params" in line]
    assert told == ["runcast: resumed with changed params: layers/count, lr"]


def test_resume_allow_begins_a_run_that_is_not_there(start: Start) -> None:
    """A job that may or may not be restarted can always say resume="allow"."""
    assert start(id="new", resume="allow").dir.is_dir()


def test_resume_must_needs_the_run(start: Start) -> None:
    """With resume="must" a missing run is an error that names the id and the folder."""
    with pytest.raises(OptionError, match=r"resume='must', but there is no run 'gone' in .*runs"):
        start(id="gone", resume="must")


@pytest.mark.damages_journals
def test_resuming_a_run_that_was_cut_in_mid_line_loses_nothing(start: Start) -> None:
    """A journal that a power cut left torn takes the next session's records whole."""
    first = start(id="run-1")
    first.log({"loss": 0.5}, step=0)
    with open(first.dir / "journal.jsonl", "ab") as journal:
        journal.write(b'{"type":"metrics","ti')

    second = start(id="run-1", resume="allow")
    second.log({"loss": 0.25}, step=1)

    assert [record.step for record in records(second, Metrics)] == [0, 1]


def test_a_run_of_a_newer_version_is_not_touched(start: Start) -> None:
    """A folder that a later runcast made is refused with what to do about it."""
    run = start(id="run-1")
    file = run.dir / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))

    with pytest.raises(JournalError, match=r"is of version 99, this runcast reads up to 1\. Upgrade it"):
        start(id="run-1", resume="allow")


@pytest.mark.parametrize("content", [b"{", b'{"id": "run-\xff"}'], ids=["cut", "no text"])
def test_a_damaged_identity_is_told(content: bytes, start: Start) -> None:
    """A run.json that is no JSON is named, and nothing is written over it."""
    run = start(id="run-1")
    (run.dir / "run.json").write_bytes(content)

    with pytest.raises(JournalError, match=r"run\.json is damaged"):
        start(id="run-1", resume="allow")
    assert (run.dir / "run.json").read_bytes() == content


# What is wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": "a/b"}, "id='a/b' cannot name a run"),
        ({"id": "../up"}, "id='../up' cannot name a run"),
        ({"id": ""}, "id='' cannot name a run"),
        ({"id": "x" * 65}, "cannot name a run: use 1 to 64 letters"),
        ({"resume": "maybe"}, r"resume='maybe' is unknown\. Valid values are: never, allow, must\."),
        ({"delivery": "pigeon"}, r"delivery='pigeon' is unknown\. Valid values are: process, thread, later\."),
        ({"offline": "perhaps"}, "offline='perhaps' is neither true nor false"),
        ({"setup": ["wandb"]}, "setup must map a tracker to its options"),
        ({"setup": {"wandb": "team"}}, "setup must map a tracker to its options"),
        ({"setup": {runcast.Tracker: {}}}, "setup must map a tracker to its options"),
    ],
)
def test_a_wrong_argument_names_itself_and_what_is_valid(arguments: dict[str, Any], message: str, start: Start) -> None:
    """A wrong option raises at once, before any folder is made."""
    with pytest.raises(OptionError, match=message):
        start(**arguments)


def test_a_wrong_tracker_leaves_no_folder(start: Start, tmp_path: Path) -> None:
    """When `init` raises because of `report_to`, nothing has been written."""
    with pytest.raises(UnknownTrackerError):
        start(report_to="wanbd")

    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_made_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file where the folder should be costs nothing: the run is kept elsewhere, and one message says where."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "runs").write_text("a file")

    run = runcast.init(dir=tmp_path / "runs", report_to=None)
    run.log({"loss": 0.5}, step=0)

    assert run.dir.is_relative_to(tmp_path / "tmp")
    assert [record.step for record in records(run, Metrics)] == [0]
    assert len(caplog.messages) == 1
    assert "cannot be written" in caplog.messages[0]
    assert str(tmp_path / "tmp") in caplog.messages[0]
    assert "RUNCAST_DIR" in caplog.messages[0]


FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import runcast
from runcast.journal import file as journal
journal.RETRY_S = 0.0
run = runcast.init(dir=sys.argv[1], id="full", report_to=None)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for step in range(100):
    run.log({"loss": 0.5}, step=step)
run.log({"text": runcast.Text("x" * 5000)}, step=100)
run.log_artifact(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run.finish()
print(run.statistics())
"""


@pytest.mark.damages_journals
def test_a_full_disk_costs_training_nothing(start: Start, tmp_path: Path) -> None:
    """While nothing can be written, logging goes on; every point is in the journal when there is room again."""
    (tmp_path / "big.bin").write_bytes(b"x" * 5000)

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "runs"), str(tmp_path / "big.bin")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    run = start(id="full", resume="must")
    assert [record.step for record in records(run, Metrics)] == list(range(100))
    assert "Free some disk space" in done.stderr
    assert "'dropped': {'text': 1, 'big.bin': 1}" in done.stdout.replace("dropped={", "'dropped': {")
    assert len(done.stderr.splitlines()) < 10


# Ranks, environment, quiet


@pytest.mark.parametrize("variable", ["RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"])
def test_only_rank_zero_writes(
    variable: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """On the other ranks of a job a run takes everything and writes nothing, so the script needs no `if`."""
    monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("WORLD_SIZE", "2")

    with start(config={"a": 1}) as run:
        run.log({"loss": 0.5}, step=0)
        run.log_artifact("missing")
        run.log_summary({"best": 1})

    assert not (tmp_path / "runs").exists()
    assert capfd.readouterr().err == ""


def test_every_option_has_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher can settle a run from outside."""
    settings = {
        "PROJECT": "p", "NAME": "n", "DIR": str(tmp_path / "elsewhere"), "RUN_ID": "abc", "RESUME": "allow",
        "GROUP": "g", "TAGS": "a, b,,a", "NOTES": "words", "REPORT_TO": "none", "DELIVERY": "later", "OFFLINE": "1", "STRICT": "no",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(f"RUNCAST_{name}", value)

    run = runcast.init()

    file = json.loads((run.dir / "run.json").read_text())
    assert (run.project, run.name, run.id, run.dir) == ("p", "n", "abc", tmp_path / "elsewhere" / "abc")
    assert (file["group"], file["tags"], file["notes"]) == ("g", ["a", "b"], "words")


def test_a_run_tells_one_line_and_none_if_quiet(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The user is told where the run is, on standard error; RUNCAST_QUIET=1 keeps that back."""
    run = start(name="lucky")
    assert capfd.readouterr() == ("", f"runcast: run lucky in {run.dir} → no tracker\n")

    monkeypatch.setenv("RUNCAST_QUIET", "1")
    start()
    assert capfd.readouterr() == ("", "")


# Exits

WITH = "with runcast.init(**options) as run:\n    run.log({'loss': 1}, step=0)\n    "
WITHOUT = "run = runcast.init(**options)\nrun.log({'loss': 1}, step=0)\n"
SCRIPTS = {
    "with, finished": (f"{WITH}pass", 0, "finished"),
    "with, exception": (f"{WITH}1 / 0", 1, "failed"),
    "with, interrupt": (f"{WITH}raise KeyboardInterrupt", -2, "killed"),
    "with, exit 3": (f"{WITH}sys.exit(3)", 3, "failed"),
    "with, exit 0": (f"{WITH}sys.exit(0)", 0, "finished"),
    "no with, end": (WITHOUT, 0, "finished"),
    "no with, exception": (f"{WITHOUT}1 / 0", 1, "failed"),
    "no with, interrupt": (f"{WITHOUT}raise KeyboardInterrupt", -2, "killed"),
    "handled exception": (f"{WITHOUT}try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass", 0, "finished"),
}


SPAWNS = """
import multiprocessing, sys
import runcast
run = runcast.init(dir=sys.argv[1], project="test", report_to=None)
def square(number):
    run.log({"number": number})
    return number * number
if __name__ == "__main__":
    run.log({"loss": 0.5}, step=0)
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print(pool.map(square, [1, 2, 3]))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_that_imports_the_script_again_starts_no_run(tmp_path: Path, method: str) -> None:
    """A line of the script that nothing guards runs in each worker, too; the training has one run all the same."""
    script = tmp_path / "script.py"
    script.write_text(SPAWNS)

    done = subprocess.run(
        [sys.executable, script, tmp_path / "runs", method], check=True, capture_output=True, text=True
    )

    assert done.stdout == "[1, 4, 9]\n"
    assert done.stderr.count(" → ") == 1
    (run,) = (tmp_path / "runs").iterdir()
    assert len([line for line in (run / "journal.jsonl").read_text().splitlines() if '"metrics"' in line]) == 1


@pytest.mark.parametrize(("script", "code", "status"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_ends_with_its_own_exit_code_and_the_right_status(
    script: str, code: int, status: str, tmp_path: Path, start: Start
) -> None:
    """However a script ends, with or without `with`: its exit code is its own, and the journal says how it went."""
    text = (
        f"import sys, runcast\noptions = dict(dir={str(tmp_path / 'runs')!r}, id='script', report_to=None)\n{script}\n"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)

    assert done.returncode == code
    run = start(id="script", resume="must")
    assert [record.status for record in records(run, Finish)] == [status]
    if status == "failed" and "1 / 0" in script:
        assert "ZeroDivisionError" in records(run, Finish)[0].error


def test_a_killed_script_leaves_every_point_and_no_end(tmp_path: Path, start: Start) -> None:
    """After SIGKILL all that `log` returned for is in the journal; that there is no end is how a crash is known."""
    text = (
        f"import os, signal, runcast\nrun = runcast.init(dir={str(tmp_path / 'runs')!r}, id='script', report_to=None)\n"
        "for step in range(500):\n    run.log({'loss': 1.0}, step=step)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, check=False)

    assert done.returncode == -signal.SIGKILL
    run = start(id="script", resume="must")
    assert [record.step for record in records(run, Metrics)] == list(range(500))
    assert records(run, Finish) == []


def test_a_script_is_left_as_it_was(tmp_path: Path) -> None:
    """A run changes no environment, working directory, signal handler, random state or hook of the script."""
    text = f"""
import os, random, signal, sys, threading
def state():
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}})]
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    return dict(os.environ), os.getcwd(), handlers, random.getstate(), hooks, threading.active_count(), os.umask(0o22)
os.umask(0o22)
before = state()
import runcast
run = runcast.init(dir={str(tmp_path / "runs")!r}, report_to=None, config={{"a": 1}})
run.log({{"loss": 0.5}}, step=0)
during = state()
run.finish()
assert before == during == state()
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
