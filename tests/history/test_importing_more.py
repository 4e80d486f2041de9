"""`runcast import` of what DVCLive, Trackio, SwanLab and an exporter of Neptune left."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from runcast.journal.records import Artifact, Dropped, Finish, Media, Metrics, Start, Summary, Tags
from tests.history.test_importing import Runs, bring
from tests.history.test_importing_trackers import run_script

__all__ = ["bring"]

DVCLIVE = """
import numpy
from dvclive import Live

with Live("mine/dvclive", save_dvc_exp=False, dvcyaml=None, report=None) as live:
    live.log_params({"lr": 0.5, "net": {"depth": 3}})
    for step in range(3):
        live.log_metric("train/loss", 1 / 2**step)
        live.next_step()
    live.summary["best"] = 0.25
    live.log_image("picture.png", numpy.zeros((4, 4, 3), dtype="uint8"))
"""

TRACKIO = """
import trackio

trackio.init(project="digits", name="first", config={"lr": 0.5, "net": {"depth": 3}}, group="a group")
for step in range(3):
    trackio.log({"loss": 1 / 2**step, "word": "hello"})
trackio.log({"far": float("inf"), "odd": float("nan")}, step=2**33)
trackio.log({"rows": trackio.Table(columns=["a"], data=[[1]])}, step=2**33)
trackio.finish()
"""

SWANLAB = """
import swanlab

swanlab.init(
    project="digits", experiment_name="first", description="a note",
    config={"lr": 0.5, "net": {"depth": 3}}, mode="offline",
)
for step in range(3):
    swanlab.log({"loss": 1 / 2**step}, step=step)
swanlab.log({"odd": float("nan")}, step=7)
swanlab.log({"words": swanlab.Text("hello")}, step=8)
swanlab.finish()
"""
LOSSES = [("loss", 1.0, 0), ("loss", 0.5, 1), ("loss", 0.25, 2)]


def test_a_folder_of_dvclive_is_a_run(bring: Runs, tmp_path: Path) -> None:
    """Tables are points, metrics.json has the summary, and the last image is at the last step."""
    pytest.importorskip("dvclive")
    run_script(DVCLIVE, folder=tmp_path)

    run = bring(tmp_path / "mine")["mine"]

    assert run.params == {"lr": 0.5, "net/depth": 3}
    assert run.points == [(f"train/{key}", value, step) for key, value, step in LOSSES]
    assert run.of(Summary)[0].values == {"best": 0.25}
    assert [(one.key, one.step, one.kind) for one in run.of(Media)] == [("picture", 2, "image")]
    assert bring(tmp_path / "mine" / "dvclive")["mine"].outcome.result == "unchanged"


@pytest.mark.trackers
def test_a_project_of_trackio_has_runs(bring: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its database and the files beside it are read, and not changed."""
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run_script(TRACKIO, folder=tmp_path)
    before = (tmp_path / "trackio" / "digits.db").read_bytes()

    run = bring(tmp_path / "trackio")["first"]

    assert (run.file.project, run.file.group, run.params) == ("digits", "a group", {"lr": 0.5, "net/depth": 3})
    assert [(key, str(value), step) for key, value, step in run.points] == [
        *((key, str(value), step) for key, value, step in LOSSES),
        ("far", "inf", 2**33),
        ("odd", "nan", 2**33),
    ]
    (table,) = run.of(Media)
    assert (table.key, (run.directory.path / table.path).read_text()) == ("rows", "a\n1\n")
    assert (run.outcome.dropped, run.status) == ({"word": "is no number"}, "finished")
    assert (tmp_path / "trackio" / "digits.db").read_bytes() == before


@pytest.mark.trackers
def test_an_offline_run_of_swanlab_is_a_run(bring: Runs, tmp_path: Path) -> None:
    """Its run file, its config and its media are read."""
    pytest.importorskip("swanlab")
    run_script(SWANLAB, folder=tmp_path)

    run = bring(tmp_path / "swanlog")["first"]

    assert (run.file.project, run.file.notes, run.params) == ("digits", "a note", {"lr": 0.5, "net/depth": 3})
    assert [(key, str(value), step) for key, value, step in run.points] == [
        *((key, str(value), step) for key, value, step in LOSSES),
        ("odd", "nan", 7),
    ]
    (text,) = run.of(Media)
    assert (text.key, text.step, (run.directory.path / text.path).read_text()) == ("words", 8, "hello")
    assert run.status == "finished"


def test_an_export_of_neptune_has_runs(bring: Runs, tmp_path: Path) -> None:
    """Each row is a value: series are points, single values params, and `sys/` says what the run is called."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    moment = dt.datetime.fromtimestamp(1.7e9, dt.timezone.utc)
    text, when = pa.string(), pa.timestamp("ms", tz="UTC")
    histogram = [("type", text), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]
    schema = pa.schema(
        [
            *((name, text) for name in ("project_id", "run_id", "attribute_path", "attribute_type")),
            ("step", pa.decimal128(18, 6)),
            ("timestamp", when),
            ("int_value", pa.int64()),
            ("float_value", pa.float64()),
            ("string_value", text),
            ("bool_value", pa.bool_()),
            ("datetime_value", when),
            ("string_set_value", pa.list_(text)),
            ("file_value", pa.struct([("path", text)])),
            ("histogram_value", pa.struct(histogram)),
        ]
    )

    def row(path: str, kind: str, **values: Any) -> dict[str, Any]:
        about = {"project_id": "team/digits", "run_id": "DIG-1", "attribute_path": path, "attribute_type": kind}
        return {**about, **values}

    def at(step: str, seconds: int, value: float) -> dict[str, Any]:
        when = moment + dt.timedelta(seconds=seconds)
        return row("train/loss", "float_series", step=Decimal(step), timestamp=when, float_value=value)

    rows = [
        row("sys/name", "string", string_value="first"),
        row("sys/creation_time", "datetime", datetime_value=moment),
        row("sys/tags", "string_set", string_set_value=["small"]),
        row("sys/failed", "bool", bool_value=True),
        row("params/lr", "float", float_value=0.5),
        row("params/big", "int", int_value=2**60),
        *(at("0", 1, 1.0), at("1", 2, 0.5), at("1.5", 3, 0.25), at("7", 60, float("nan"))),
        row("out", "string_series", step=Decimal(0), timestamp=moment, string_value="a line"),
        row("h", "histogram_series", step=Decimal(1), histogram_value={"edges": [0, 1, 2], "values": [3, 4]}),
        row("model", "file", file_value={"path": "digits-x/DIG-1/model.pt"}),
        row("gone", "file", file_value={"path": "digits-x/DIG-1/gone.pt"}),
    ]
    for folder in ("data/digits-x", "files/digits-x/DIG-1"):
        (tmp_path / "exports" / folder).mkdir(parents=True)
    (tmp_path / "exports" / "files" / "digits-x" / "DIG-1" / "model.pt").write_text("weights")
    for part, some in enumerate((rows[:8], rows[8:])):
        path = tmp_path / "exports" / "data" / "digits-x" / f"DIG-1_part_{part}.parquet"
        parquet.write_table(pa.Table.from_pylist(some, schema=schema), path)

    run = bring(tmp_path / "exports")["first"]

    assert (run.file.project, run.params) == ("team/digits", {"params/lr": 0.5, "params/big": 2**60})
    assert [(key, str(value), step) for key, value, step in run.points] == [
        ("train/loss", "1.0", 0),
        ("train/loss", "0.5", 1),
        ("train/loss", "nan", 7),
    ]
    assert [one.time for one in run.of(Metrics)] == [1.7e9 + 1, 1.7e9 + 2, 1.7e9 + 60]
    artifacts = {one.name: (run.directory.path / one.path).read_text() for one in run.of(Artifact)}
    assert artifacts == {"model": "weights", "out.txt": "a line"}
    assert [(one.key, one.kind) for one in run.of(Media)] == [("h", "histogram")]
    assert (run.of(Start)[0].time, run.of(Finish)[0].time, run.status) == (1.7e9, 1.7e9 + 60, "failed")
    assert run.of(Tags)[0].tags == ["small"]
    assert sorted(one.key for one in run.of(Dropped)) == ["gone", "train/loss"]
