"""Tables and samples come back cell by cell from what each tracker keeps, read with its own reader or in its own format.

The deliveries are killed in the middle: what was sent already is there once, all the same.
"""

import csv
import datetime as dt
import io
import itertools
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory

LONG = "x" * (128 * 1024 + 1)  # longer than Python's csv takes for one cell, unless it is told
COLUMNS = ["text", "count", "mixed", "long"]
ROWS: list[list[Any]] = [
    ["007", 1, "1_000", "lone\rreturn"],
    ["7", None, 2.5, LONG],
    ["NaN", 3, True, ""],
    ["true", 4, None, "2026-01-02"],
    [dt.date(2026, 1, 2), 5, [1, [2, None]], b"a\xff"],
    [math.nan, 2**53 + 1, {"a": 1}, 'größe, "q"|\n'],
]
CELLS: list[list[Any]] = [
    ["007", 1, "1_000", "lone\rreturn"],
    ["7", None, 2.5, LONG],
    ["NaN", 3, True, ""],
    ["true", 4, None, "2026-01-02"],
    ["2026-01-02", 5, "[1,[2,null]]", r"b'a\xff'"],
    ["a float that is NaN", 9007199254740993, '{"a":1}', 'größe, "q"|\n'],
]
# What a program that knows CSV, but no types, reads of it; and which cells stand in quotes, as they are texts.
AS_CSV = [
    ["007", "1", "1_000", "lone\rreturn"],
    ["7", "", "2.5", LONG],
    ["NaN", "3", "True", ""],
    ["true", "4", "", "2026-01-02"],
    ["2026-01-02", "5", "[1,[2,null]]", r"b'a\xff'"],
    ["NaN", "9007199254740993", '{"a":1}', 'größe, "q"|\n'],
]
QUOTED = [
    '\n"007",1,1_000,"lone\rreturn"\n"7",,2.5,',
    '\n"NaN",3,True,""\ntrue,4,,2026-01-02\n',
    "\nNaN,9007199254740993,",
]
IN_MARKDOWN = [
    "| text | count | mixed | long |",
    "| --- | --- | --- | --- |",
    "| 007 | 1 | 1_000 | lone return |",  # a row is one line there
    f"| 7 |  | 2.5 | {LONG} |",
    "| NaN | 3 | True |  |",
    "| true | 4 |  | 2026-01-02 |",
    r"| 2026-01-02 | 5 | [1,[2,null]] | b'a\xff' |",
    r'| nan | 9007199254740993 | {"a":1} | größe, "q"\| |',
]


MIB = "x" * 2**20
SAMPLES = [
    {"prompt": "007", "n": 2**53 + 1, "text": "lone\rreturn", "reward": None, "chat": [{"role": "user"}]},
    {"prompt": "1_000", "n": -1, "text": MIB, "reward": 0.5},
]
SAMPLE_COLUMNS = ["step", "prompt", "n", "text", "reward", "chat"]
STEPS = [10, 20, 30]
SAMPLE_CELLS = [
    cells
    for step in STEPS
    for cells in (
        [step, "007", 9007199254740993, "lone\rreturn", None, '[{"role":"user"}]'],
        [step, "1_000", -1, MIB, 0.5, None],
    )
]
SAMPLES_AS_CSV = {
    step: [
        SAMPLE_COLUMNS,
        [str(step), "007", "9007199254740993", "lone\rreturn", "", '[{"role":"user"}]'],
        [str(step), "1_000", "-1", MIB, "0.5", ""],
    ]
    for step in STEPS
}
SAMPLES_IN_MARKDOWN = {
    step: [
        "| step | prompt | n | text | reward | chat |",
        "| --- | --- | --- | --- | --- | --- |",
        f'| {step} | 007 | 9007199254740993 | lone return |  | [{{"role":"user"}}] |',
        f"| {step} | 1_000 | -1 | {MIB} | 0.5 |  |",
    ]
    for step in STEPS
}
Rows = list[list[Any]]


def named(rows: list[list[Any]], nan: object = None) -> list[list[Any]]:
    """Put words in the place of a NaN, which equals nothing."""
    return [
        [
            "a float that is NaN"
            if (nan is not None and cell == nan) or (isinstance(cell, float) and cell != cell)
            else cell
            for cell in row
        ]
        for row in rows
    ]


def read_csv(content: bytes) -> tuple[list[list[str]], list[bool]]:
    """Read CSV with Python's own reader; tell where texts are marked as such."""
    text = content.decode()
    limit = csv.field_size_limit(len(text))
    try:
        return list(csv.reader(io.StringIO(text, newline=""))), [part in text for part in QUOTED]
    finally:
        csv.field_size_limit(limit)


def in_wandb(directory: RunDirectory, key: str) -> list[tuple[list[str], Rows]]:
    """Read the files that the rows of the history name, as W&B's own command prints them; `wandb sync` uploads both."""
    found = []
    for file in sorted(directory.tracker("wandb").glob("wandb/*run-2*/*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows = (json.loads(line).get("history", {}).get("item", {}) for line in output.splitlines())
        paths = [file.parent / "files" / row[f"{key}.path"] for row in rows if f"{key}.path" in row]
        tables = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        found += [(table["columns"], named(table["data"])) for table in tables]
    return found


def in_clearml(directory: RunDirectory, key: str) -> list[tuple[list[str], Rows]]:
    """Read the plots out of the offline session, as Plotly has them."""
    found = []
    for file in directory.tracker("clearml").rglob("metrics.jsonl"):
        events = itertools.chain.from_iterable(map(json.loads, file.read_text().splitlines()))
        for event in (
            event for event in events if event.get("plot_str") and key in (event["metric"], event["variant"])
        ):
            (table,) = json.loads(event["plot_str"])["data"]
            columns: list[list[Any]] = table["cells"]["values"]
            found.append((table["header"]["values"], named(list(map(list, zip(*columns, strict=True))), "nan")))
    return found


def in_mlflow(directory: RunDirectory) -> dict[str, bytes]:
    """Download the artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{directory.path.parent}/mlflow.db")
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    paths = [found.path for found in client.list_artifacts(run.info.run_id, "media")]
    return {path: Path(client.download_artifacts(run.info.run_id, path)).read_bytes() for path in paths}


def in_comet(directory: RunDirectory) -> list[tuple[str, int, bytes]]:
    """Open the archives that `comet upload` takes; their messages name the file of each asset."""
    found = []
    for file in directory.tracker("comet_ml").rglob("*.zip"):
        with zipfile.ZipFile(file) as archive:
            for message in map(json.loads, archive.read("messages.json").splitlines()):
                asset = message["payload"].get("additional_params", {})
                if str(asset.get("fileName")).endswith(".csv"):
                    content = archive.read(Path(message["payload"]["file_path"]).name)
                    found.append((asset["fileName"], asset["step"], content))
    return found


def in_dvclive(directory: RunDirectory) -> dict[str, bytes]:
    """Read the files beside its plots."""
    media = directory.tracker("dvclive") / "dvclive" / "media"
    return {path.relative_to(media).as_posix(): path.read_bytes() for path in media.rglob("*.csv")}


def in_tensorboard(directory: RunDirectory, key: str) -> dict[int, list[str]]:
    """Load the events as TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: list[tuple[int, list[str]]] = []
    for file in directory.tracker("tensorboard").glob("*tfevents*"):
        events = EventAccumulator(str(file)).Reload()
        if key in events.Tags()["tensors"]:
            texts = ((event.step, event.tensor_proto.string_val[0].decode()) for event in events.Tensors(key))
            found += [(step, text.split("\n")) for step, text in texts]
    assert len(found) == len(dict(found))
    return dict(found)


def kill_deliveries(directory: RunDirectory, names: list[str], moment: str) -> None:
    """Deliver to each tracker until a moment at which the process dies, and wait for all."""
    command = [sys.executable, "-m", "runcast.testing.death", str(directory.path)]
    dying = [subprocess.Popen([*command, TABLE[name].tracker, "{}", moment]) for name in names]
    assert [process.wait(150) for process in dying] == [0] * len(names)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload``:DeprecationWarning")  # MLflow's
def test_the_cells_of_a_table_arrive_in_every_tracker_that_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts that look like numbers, gaps, long cells, dates, bytes and lists: each is what it was, or its text."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    names = ["wandb", "mlflow", "comet_ml", "clearml", "dvclive", "tensorboard"]
    run = runcast.init("cells", report_to=names, dir=tmp_path, delivery="later")
    run.log({"cells": runcast.Table(ROWS, columns=COLUMNS)}, step=3)
    run.log_samples(SAMPLES, step=10)
    run.log({"here": 1.0}, step=10)
    for step in (20, 30):
        run.log_samples(SAMPLES, step=step)
    run.finish()
    directory = RunDirectory(run.dir)
    kill_deliveries(directory, names, "sent:here")

    outcomes = sync(directory, decide=decide)

    assert [(outcome.name, outcome.result) for outcome in outcomes] == [(name, "complete") for name in names]
    for read in (in_wandb, in_clearml):
        for key, columns, cells in (("cells", COLUMNS, CELLS), ("samples", SAMPLE_COLUMNS, SAMPLE_CELLS)):
            tables = read(directory, key)
            rows = list(itertools.chain.from_iterable(rows for _, rows in tables))
            assert (read, [found for found, _ in tables]) == (read, [columns] * len(tables))
            assert (read, rows) == (read, cells)
            assert [list(map(type, row)) for row in rows] == [list(map(type, row)) for row in cells]
    samples = {f"samples/{step}": text for step, text in SAMPLES_AS_CSV.items()}
    mlflow = {
        name.removeprefix("media/").replace("+step+", "/"): content for name, content in in_mlflow(directory).items()
    }
    assert len(in_comet(directory)) == 1 + len(STEPS)
    comet = {f"{name.removesuffix('.csv')}/{step}.csv": content for name, step, content in in_comet(directory)}
    for contents in (mlflow, comet, in_dvclive(directory)):
        assert read_csv(contents.pop("cells/3.csv")) == ([COLUMNS, *AS_CSV], [True, True, True])
        assert {name.removesuffix(".csv"): read_csv(content)[0] for name, content in contents.items()} == samples
        assert all(b'0,"007",9007199254740993,"lone\rreturn",,' in content for content in contents.values())
    assert in_tensorboard(directory, "cells") == {3: IN_MARKDOWN}
    assert in_tensorboard(directory, "samples") == SAMPLES_IN_MARKDOWN
