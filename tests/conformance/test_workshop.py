"""The check of a tracker as its author sees it, again and again."""

import subprocess
import sys
from pathlib import Path

import pytest

from runcast.testing import BrokenContractError, MemoryTracker, check_tracker
from runcast.testing.kit import tally

FORGETS = '''
from runcast.testing import MemoryTracker

class Forgets(MemoryTracker):
    """Loses the points."""

    def log_metrics(self, points):
        raise KeyError("my own mistake")
'''


def test_a_check_can_be_repeated_in_the_same_folder(tmp_path: Path) -> None:
    """The runs of each time are in a folder of their own."""
    for _ in range(3):
        check_tracker(MemoryTracker, tmp_path / "check", only=["steps", "artifacts", "contents"])

    assert {"again-2", "again-3"} <= {path.name for path in (tmp_path / "check").iterdir()}


def test_each_check_is_reported_when_it_is_done(tmp_path: Path) -> None:
    """One line each, and a tally."""
    seen: list[str] = []

    checks = check_tracker(
        MemoryTracker, tmp_path, only=["steps", "foreign_run"], report=lambda check: seen.append(str(check))
    )

    assert [line.split()[0] for line in seen] == ["skipped", "passed"]
    assert all("\n" not in line for line in seen)
    assert tally(checks).endswith(" s: 1 passed, 1 skipped")


def test_the_command_prints_one_line_a_check_and_tracebacks_of_failures_only(tmp_path: Path) -> None:
    """And nothing that the runs say."""
    (tmp_path / "mine.py").write_text(FORGETS)
    command = [sys.executable, "-m", "runcast.testing", "mine:Forgets", "check", "--only", "declaration,tags,kinds"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert [line.split()[0] for line in lines[:3]] == ["passed", "failed", "passed"]
    assert lines[-1].endswith(" s: 2 passed, 1 failed")
    assert "KeyError: 'my own mistake'" in done.stdout
    assert done.stdout.count("kinds: Every kind of record is kept") == 1


def test_an_error_keeps_the_log_of_each_check(tmp_path: Path) -> None:
    """With the tracebacks of the tracker's own exceptions."""

    class Forgets(MemoryTracker):
        def log_metrics(self, points: object) -> None:
            raise KeyError("my own mistake")

    with pytest.raises(BrokenContractError) as caught:
        check_tracker(Forgets, tmp_path, only=["kinds"])

    assert "my own mistake" in caught.value.checks[0].log
