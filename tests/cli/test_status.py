"""`runcast status`."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import runcast
from runcast.journal.layout import RunDirectory

KILLED = """
import os, signal, runcast
run = runcast.init("shapes", id="shot", report_to="none")
run.log({"loss": 1.0}, step=0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def listed(answer) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """Map each listed run to its status."""
    return {run["id"]: run["status"] for run in json.loads(answer.out)}


def test_without_runs_it_says_how_to_make_one(cli) -> None:  # type: ignore[no-untyped-def]
    """An empty folder is no error."""
    answer = cli("status")

    assert answer.status == 0
    assert "runcast demo" in answer.out
    assert json.loads(cli("status", "--json").out) == []


def test_a_run_is_what_its_journal_says(cli) -> None:  # type: ignore[no-untyped-def]
    """Each end has its status, and a run without an end whose process lives is running."""
    for status in ("finished", "failed", "killed"):
        runcast.init("shapes", id=status, report_to="none").finish(status)
    alive = runcast.init("shapes", id="alive", report_to="none")

    assert listed(cli("status", "--json")) == {
        "finished": "finished",
        "failed": "failed",
        "killed": "killed",
        "alive": "running",
    }

    alive.finish()
    assert listed(cli("status", "--json"))["alive"] == "finished"


def test_a_run_whose_process_was_killed_is_crashed(cli) -> None:  # type: ignore[no-untyped-def]
    """A process that disappeared without a word leaves a run that is crashed, not running for ever."""
    done = subprocess.run([sys.executable, "-c", KILLED])
    assert done.returncode == -signal.SIGKILL

    assert listed(cli("status", "--json")) == {"shot": "crashed"}


def test_a_run_without_an_end_on_another_machine_is_unknown(cli) -> None:  # type: ignore[no-untyped-def]
    """Nobody can see from here whether another machine still trains."""
    runcast.init("shapes", id="far", report_to="none")
    directory = RunDirectory(Path("runs/far"))
    file = directory.load()
    file.host = "elsewhere"
    directory.save(file)

    assert listed(cli("status", "--json")) == {"far": "unknown"}


def test_one_run_can_be_named_in_many_ways(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """An id, its beginning, a name and a path lead to the same run."""
    for word in (finished_run.id, finished_run.id[:-2], "first-try", str(finished_run.dir), "last"):
        assert json.loads(cli("status", word, "--json").out)["points"] == 16


def test_a_run_that_is_not_there_is_a_usage_error(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """A wrong id is exit status 2, and the message names ids that exist; standard output stays empty."""
    answer = cli("status", "nothing")

    assert (answer.status, answer.out) == (2, "")
    assert finished_run.id in answer.err


def test_a_damaged_run_does_not_hide_the_others(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """The list shows the runs that can be read and names the one that cannot."""
    broken = Path("runs/broken")
    broken.mkdir()
    (broken / "run.json").write_text("{")

    answer = cli("status", "--json")

    assert answer.status == 0
    assert listed(answer) == {finished_run.id: "finished"}
    assert "broken" in answer.err


def test_the_limit_keeps_the_newest(cli) -> None:  # type: ignore[no-untyped-def]
    """`--limit 1` shows the last run."""
    for name in ("one", "two"):
        runcast.init("shapes", id=name, report_to="none").finish()

    assert listed(cli("status", "--limit", "1", "--json")) == {"two": "finished"}


@pytest.mark.parametrize("command", ["status", "show", "sync", "verify"])
def test_a_run_whose_journal_was_deleted_is_an_empty_one(cli, command: str) -> None:  # type: ignore[no-untyped-def]
    """What is left of it is shown; no command breaks off."""
    with runcast.init("shapes", id="run", report_to="none") as run:
        run.log({"loss": 1.0})
    (run.dir / "journal.jsonl").unlink()

    answer = cli(command, "run")

    assert answer.status in (0, 1)
    assert "Traceback" not in answer.out + answer.err


def test_what_is_no_run_is_not_listed_and_each_run_once(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """Other programs use a folder named `runs`, too, and people link to their newest run."""
    runs = finished_run.dir.parent
    (runs / "latest").symlink_to(finished_run.dir.name)
    (runs / "dangling").symlink_to("nowhere")
    (runs / "Nov29_host").mkdir()
    (runs / "Nov29_host" / "events.out.tfevents.1").touch()
    (runs / "run.json").mkdir()

    answer = cli("status", "--json")

    assert [run["id"] for run in json.loads(answer.out)] == [finished_run.id]
    assert finished_run.name in cli("show", str(runs / "latest")).out


@pytest.mark.parametrize("arguments", [("status",), ("status", "last")])
def test_status_fits_eighty_columns(cli, finished_run: runcast.Run, arguments: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]
    """Neither the list nor a run's details are broken by a narrow terminal."""
    answer = cli(*arguments)

    assert finished_run.name in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["show", "status", "verify"])
def test_dropped_values_are_shown_where_people_look(command: str, cli) -> None:  # type: ignore[no-untyped-def]
    """With their number and what to log instead."""
    run = runcast.init("dropped", report_to="none")
    run.log({"sizes": [1, 2]}, step=0)
    run.log({"sizes": [1, 2]}, step=1)
    run.finish()

    answer = cli(command, run.id)

    assert "sizes  2 values dropped: it is a list. Log its mean" in answer.out
