"""Samples come back cell by cell from the trackers of the second rank, after a kill in the middle, by their own means."""

import itertools
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory

pytestmark = [pytest.mark.trackers, pytest.mark.slow]

MIB = "x" * 2**20
ROWS = [
    {"prompt": "007", "n": 2**53 + 1, "text": "lone\rreturn", "reward": None, "chat": [{"role": "user"}]},
    {"prompt": "1_000", "n": -1, "text": MIB, "reward": 0.5},
]
EXPECTED = [
    {"step": step, **row}
    for step in (10, 20)
    for row in (
        {"prompt": "007", "n": 9007199254740993, "text": "lone\rreturn", "reward": None, "chat": '[{"role":"user"}]'},
        {"prompt": "1_000", "n": -1, "text": MIB, "reward": 0.5, "chat": None},
    )
]
AIM = """
import json, sys
from aim import Repo
repo = Repo(sys.argv[1])
repo._recreate_index()
for run in repo.query_texts().iter_runs():
    for texts in run:
        steps, found = texts.values.sparse_list()
        print("ANSWER", json.dumps([texts.name, steps, [text.data for text in found]]))
"""


def in_trackio(directory: RunDirectory) -> list[Any]:
    """Read the rows of its database."""
    with sqlite3.connect(directory.path.parent / "trackio" / "samples.db") as store:
        rows = [json.loads(row) for (row,) in store.execute("SELECT metrics FROM metrics ORDER BY step, id")]
    tables = [row["samples"] for row in rows if "samples" in row]
    assert [table["_type"] for table in tables] == ["trackio.table"] * 2
    return list(itertools.chain.from_iterable(table["_value"] for table in tables))


def in_swanlab(directory: RunDirectory) -> list[Any]:
    """Read the tables that it shows, whose names begin with the step."""
    files = sorted(directory.tracker("swanlab").rglob("media/echarts/*.json"), key=lambda path: path.name)
    return list(itertools.chain.from_iterable(json.loads(file.read_text())["rowData"] for file in files))


def in_aim(directory: RunDirectory) -> list[Any]:
    """Ask its own reader, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", AIM, str(directory.path.parent / "aim")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (answer,) = (line for line in done.stdout.splitlines() if line.startswith("ANSWER"))
    name, steps, texts = json.loads(answer.removeprefix("ANSWER"))
    assert (name, steps) == ("samples", [10, 20])
    return [json.loads(line) for text in texts for line in text.split("\n")]


READ = {"trackio": in_trackio, "swanlab": in_swanlab, "aim": in_aim}


def test_the_samples_of_each_step_arrive_once_and_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts stay texts, integers exact, None is None, and a cell may be long or hold a lone return."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    run = runcast.init("samples", report_to=list(READ), dir=tmp_path, delivery="later")
    run.log_samples(ROWS, step=10)
    run.log({"here": 1.0}, step=10)
    run.log_samples(ROWS, step=20)
    run.finish()
    directory = RunDirectory(run.dir)
    command = [sys.executable, "-m", "runcast.testing.death", str(run.dir)]
    dying = [subprocess.Popen([*command, TABLE[name].tracker, "{}", "sent:here"]) for name in READ]
    assert [process.wait(150) for process in dying] == [0] * len(READ)

    outcomes = sync(directory, decide=decide)

    assert {outcome.name: outcome.result for outcome in outcomes} == dict.fromkeys(READ, "complete")
    for name, read in READ.items():
        assert (name, read(directory)) == (name, EXPECTED)
