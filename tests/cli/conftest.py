"""Calls the command line as a user does, in this process, and makes runs for it to look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import runcast
from runcast.cli.app import run as run_cli


@dataclass(frozen=True)
class Answer:
    """Is what a command printed, and its exit status."""

    status: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run `runcast ARGUMENTS` in an empty folder, with 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("RUNCAST_QUIET", "1")

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run_cli(list(arguments))
        code = end.value.code
        printed = capsys.readouterr()
        return Answer(int(code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def finished_run(cli: Cli) -> runcast.Run:
    """A run with two curves, cast to no tracker."""
    with runcast.init("shapes", "first-try", {"lr": 0.5, "net": {"depth": 3}}, report_to="none", tags=["small"]) as run:
        for step in range(8):
            run.log({"loss": 8 - step, "accuracy": step / 8}, step=step)
        run.log_summary({"best": 0.875})
    return run
