"""Where a command prints to: a file on a full disk, or nowhere at all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import runcast


def shell(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of the shell, in which `$runcast` stands for ours."""
    ours = f"'{sys.executable}' -m runcast"
    return subprocess.run(command.replace("$runcast", ours), shell=True, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("command", ["list", "list --json", "get one loss --json", "show one"])
def test_a_full_disk_is_an_error_and_no_traceback(command: str, tmp_path: Path) -> None:
    """What was asked for is not there, so the exit status says so."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with runcast.init("p", id="one", report_to="none", dir=tmp_path / "runs") as run:
        run.log({"loss": 0.5}, step=0)

    done = shell(f"$runcast {command} > /dev/full", tmp_path)

    said = "error: A file, or the output, cannot be used (No space left on device)\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_lines_in_a_pipe_end_where_their_text_ends(tmp_path: Path) -> None:
    """Beside one long param, every other line was as long, and took a screen of `less`."""
    config = {"lr": 0.5, "prompt": "word " * 900}
    runcast.init("p", config=config, id="one", report_to="none", snapshot=(), dir=tmp_path / "runs").finish()

    lines = shell("unset COLUMNS; $runcast show one", tmp_path).stdout.splitlines()

    assert "lr      0.5" in lines
    assert "prompt  " + "word " * 899 + "word" in lines
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_stream_stops_nothing(closed: str, tmp_path: Path) -> None:
    """A daemon has none."""
    runcast.init("p", id="one", report_to="none", dir=tmp_path / "runs").finish()

    done = shell(f"$runcast list --json {closed}", tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    if closed == "2>&-":
        assert json.loads(done.stdout)[0]["id"] == "one"


@pytest.mark.parametrize("stdin", ["</dev/null", "<&-"])
def test_a_question_that_nobody_answers_is_no(stdin: str, tmp_path: Path) -> None:
    """In a script without input, the way to do without it is named."""
    run = runcast.init("p", id="one", report_to="none", dir=tmp_path / "runs")
    run.finish()

    done = shell(f"$runcast rm one {stdin}", tmp_path)

    said = "error: Nothing was done, as nobody has answered\nhint: Add --yes to go on without asking\n"
    assert (done.returncode, done.stderr.lstrip()) == (1, said)
    assert run.dir.exists()
