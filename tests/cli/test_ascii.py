"""A terminal that knows only ASCII shows what the others show, with the rest of the characters escaped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runcast


@pytest.mark.parametrize("command", ["show", "status", "verify"])
def test_a_command_ends_in_no_traceback(command: str, tmp_path: Path) -> None:
    """Names, marks and lines are written, whatever the locale."""
    run = runcast.init("größe", "läuft …", report_to=None, dir=tmp_path / "runs", tags=["ü"])
    run.log({"löss": 0.5}, step=0)
    run.finish()
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [sys.executable, "-m", "runcast", command, str(run.dir)],
        env={**os.environ, **ascii_only},
        capture_output=True,
    )

    assert b"Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize("arguments", [("show", "run"), ("compare", "run", "other", "-m", "constant")], ids=" ".join)
def test_no_character_of_ours_is_escaped(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Each has a lookalike: the line of a constant metric, too."""
    for run_id in ("run", "other"):
        with runcast.init("p", "name", report_to=None, dir=tmp_path / "runs", id=run_id, snapshot=()) as run:
            for step in range(9):
                run.log({"constant": 3, "loss": 1 / (step + 1)}, step=step)
            run.log({"lists": [1, 2]}, step=9)

    done = subprocess.run(
        [sys.executable, "-m", "runcast", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
        capture_output=True,
    )

    assert done.returncode == 0
    assert b"\\" not in done.stdout
    assert len(done.stdout.splitlines()) > 5
