"""What the commands print, word for word, in a narrow and in a wide terminal, and in a pipe.

After a change that is meant, write the files again: SNAPSHOTS=write pytest tests/cli/test_snapshots.py
"""

import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

import runcast

FOLDER = Path(__file__).parent / "snapshots"
COMMANDS = {
    "list": ("list",),
    "list-best": ("list", "--best", "eval/loss"),
    "status": ("status",),
    "status-run": ("status", "second"),
    "show": ("show", "second"),
    "show-metric": ("show", "second", "-m", "eval/loss"),
    "compare": ("compare", "first", "second"),
    "verify": ("verify", "second"),
    "unknown": ("show", "thrid-run"),
}


@pytest.fixture
def two_runs(cli: Any) -> None:
    """Two runs with curves, params, a summary, tags and a dropped value."""
    for name, lr in (("first-run", 0.1), ("second-run", 0.25)):
        config = {"lr": lr, "model": {"depth": 3, "kind": "resnet"}}
        with runcast.init("shapes", name, config, report_to="none", tags=["small"]) as run:
            for step in range(200):
                run.log({"train/loss": math.exp(-step * lr / 10), "constant": 3, "system/gpu": 50.0}, step=step)
                if step % 20 == 0:
                    run.log({"eval/loss": math.exp(-step * lr / 12) + 0.125, "sizes": [1, 2]}, step=step)
            run.summary["best"] = 0.125 * lr


def normal(text: str) -> str:
    """Replace what differs from run to run."""
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "20260101-120000-abcdef", text)
    text = re.sub(r"^[0-9a-f]{6}(?=  )", "abcdef", text, flags=re.MULTILINE)
    text = re.sub(r" on \S+ ·", " on host ·", text)
    return "\n".join(line.rstrip() for line in re.sub(r"\b\d s\b", "0 s", text).splitlines()) + "\n"


@pytest.mark.parametrize("width", ["80", "160", "pipe"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_this(
    name: str, width: str, cli: Any, two_runs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost in 80 columns, the room of 160 is used, and nothing is cut in a pipe."""
    monkeypatch.delenv("COLUMNS") if width == "pipe" else monkeypatch.setenv("COLUMNS", width)
    path = FOLDER / f"{name}-{width}.txt"

    answer = cli(*COMMANDS[name])
    text = normal(answer.out + answer.err)

    if os.environ.get("SNAPSHOTS") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    if width != "pipe":
        assert max(map(len, answer.out.splitlines()), default=0) <= int(width)
