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
