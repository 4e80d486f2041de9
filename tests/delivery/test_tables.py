"""Tables come back cell by cell from what each tracker keeps, read with its own reader or in its own format."""

import csv
import datetime as dt
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
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


def only(folder: Path, pattern: str) -> Path:
    """Find the one file."""
    (found,) = folder.rglob(pattern)
    return found


def in_wandb(directory: RunDirectory) -> tuple[list[str], list[list[Any]]]:
    """Read the file that `wandb sync` uploads."""
    table = json.loads(only(directory.tracker("wandb"), "*.table.json").read_text())
    return table["columns"], named(table["data"])


def in_clearml(directory: RunDirectory) -> tuple[list[str], list[list[Any]]]:
    """Read the plot out of the offline session, as Plotly has it."""
    lines = only(directory.tracker("clearml"), "metrics.jsonl").read_text().splitlines()
    (plot,) = (event["plot_str"] for line in lines for event in json.loads(line) if event.get("plot_str"))
    (table,) = json.loads(plot)["data"]
    return table["header"]["values"], named(list(map(list, zip(*table["cells"]["values"], strict=True))), "nan")


def in_mlflow(directory: RunDirectory) -> bytes:
    """Download the artifact."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{directory.path.parent}/mlflow.db")
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    (file,) = (found.path for found in client.list_artifacts(run.info.run_id, "media"))
    return Path(client.download_artifacts(run.info.run_id, file)).read_bytes()


def in_comet(directory: RunDirectory) -> bytes:
    """Open the archive that `comet upload` takes; its messages name the file of each asset."""
    with zipfile.ZipFile(only(directory.tracker("comet_ml"), "*.zip")) as archive:
        messages = [json.loads(line) for line in archive.read("messages.json").splitlines()]
        (file,) = (
            message["payload"]["file_path"]
            for message in messages
            if message["payload"].get("additional_params", {}).get("fileName") == "cells.csv"
        )
        return archive.read(Path(file).name)


def in_dvclive(directory: RunDirectory) -> bytes:
    """Read the file beside its plots."""
    return (directory.tracker("dvclive") / "dvclive" / "media" / "cells" / "3.csv").read_bytes()


def in_tensorboard(directory: RunDirectory) -> list[str]:
    """Load the events as TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for file in directory.tracker("tensorboard").glob("*tfevents*"):
        events = EventAccumulator(str(file)).Reload()
        if "cells" in events.Tags()["tensors"]:
            (event,) = events.Tensors("cells")
            assert event.step == 3
            text: str = event.tensor_proto.string_val[0].decode()
            return text.split("\n")
    raise AssertionError("TensorBoard has no table")


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
    run.finish()
    directory = RunDirectory(run.dir)

    outcomes = sync(directory, decide=decide)

    assert [(outcome.name, outcome.result) for outcome in outcomes] == [(name, "complete") for name in names]
    for read in (in_wandb, in_clearml):
        columns, cells = read(directory)
        assert (read, columns, cells) == (read, COLUMNS, CELLS)
        assert [list(map(type, row)) for row in cells] == [list(map(type, row)) for row in CELLS]
    for content in (in_mlflow(directory), in_comet(directory), in_dvclive(directory)):
        assert read_csv(content) == ([COLUMNS, *AS_CSV], [True, True, True])
    assert in_tensorboard(directory) == IN_MARKDOWN
