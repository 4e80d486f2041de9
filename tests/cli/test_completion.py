"""The shell completes commands, options, runs and trackers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import runcast

PROGRAM = "from runcast.cli.app import make_app; make_app()(prog_name='runcast')"


def completed(words: str, folder: Path) -> set[str]:
    """Ask as bash does, and return what it would offer."""
    asked = {"_RUNCAST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **asked},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("runcast sho", {"show"}),
        ("runcast show fi", {"first-try"}),
        ("runcast compare first-try s", {"second-try"}),
        ("runcast verify --tracker tens", {"tensorboard"}),
        ("runcast rm ", {"first-try", "second-try"}),
    ],
)
def test_the_shell_completes(words: str, offered: set[str], tmp_path: Path) -> None:
    """Names of runs are those in the folder."""
    for name in ("first-try", "second-try"):
        runcast.init("shapes", name, report_to="none", dir=tmp_path / "runs").finish()

    assert completed(words, tmp_path) == offered
