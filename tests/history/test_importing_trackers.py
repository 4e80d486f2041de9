"""`runcast import` of what the real SDKs wrote, without runcast."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runcast.autodetect import decide
from runcast.core.errors import OptionError
from runcast.history.replaying import replay
from runcast.history.sources import import_runs
from runcast.history.verify import verify
from runcast.journal.records import Artifact, Finish, Media, Metrics, Start, Summary, Tags
from tests.history.test_importing import Runs, bring

__all__ = ["bring"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """What torch's SummaryWriter leaves."""
    torch = pytest.importorskip("torch")
    board = pytest.importorskip("torch.utils.tensorboard")
    with board.SummaryWriter(str(tmp_path / "logs" / "a")) as writer:
        for step in range(3):
            writer.add_scalar("loss", 1 / 2**step, step, walltime=1.7e9 + step)
        writer.add_scalar("odd", float("nan"), -3, walltime=1.7e9 + 3)
        writer.add_scalar("far", float("inf"), 2**40, walltime=1.7e9 + 4)
        writer.add_scalar("exact", 0.1, 1, walltime=1.7e9 + 5, new_style=True, double_precision=True)
        writer.add_text("note", "some *text*", 1, walltime=1.7e9 + 6)
        writer.add_image("picture", torch.zeros(3, 4, 4), 1, walltime=1.7e9 + 7)
        writer.add_histogram("weights", torch.arange(10.0), 1, walltime=1.7e9 + 8)
        writer.add_hparams({"lr": 0.5, "net": "small"}, {"hp/acc": 0.25}, run_name="trial")
    return tmp_path / "logs"


def test_event_files_of_torch_are_runs(bring: Runs, logs: Path) -> None:
    """Scalars keep their values, steps and times; texts, images and histograms are media; each folder is a run."""
    runs = bring(logs)

    run = runs["a"]
    assert [(key, str(value), step) for key, value, step in run.points] == [
        ("loss", "1.0", 0),
        ("loss", "0.5", 1),
        ("loss", "0.25", 2),
        ("odd", "nan", -3),
        ("far", "inf", 2**40),
        ("exact", "0.1", 1),
    ]
    assert [one.time for one in run.of(Metrics)] == [1.7e9 + at for at in range(6)]
    assert sorted((one.key, one.step, one.kind, one.time) for one in run.of(Media)) == [
        ("note", 1, "text", 1.7e9 + 6),
        ("picture", 1, "image", 1.7e9 + 7),
        ("weights", 1, "histogram", 1.7e9 + 8),
    ]
    assert (run.file.created, run.status) == (1.7e9, "finished")
    trial = runs["a/trial"]
    assert (trial.params, trial.points) == ({"lr": 0.5, "net": "small"}, [("hp/acc", 0.25, 0)])
    assert trial.file.group == "a"


def test_a_logdir_that_was_moved_is_the_same_and_a_cut_file_is_read_as_far_as_it_goes(bring: Runs, logs: Path) -> None:
    """A run is known by its own files, not by where they lie; a writer that was killed leaves half a record."""
    bring(logs)
    moved = logs.rename(logs.parent / "elsewhere")
    (file,) = (moved / "a").glob("*tfevents*")
    file.write_bytes(file.read_bytes() + b"\x18\x00\x00\x00")

    runs = bring(moved / "a")

    assert {name: one.outcome.result for name, one in runs.items()} == {"a": "unchanged", "a/trial": "unchanged"}


def test_an_empty_event_file_fails_alone(bring: Runs, logs: Path) -> None:
    """A script that ended before it logged leaves one; it is reported, and the other runs are imported."""
    (logs / "b").mkdir()
    (logs / "b" / "events.out.tfevents.1700000000.host").touch()

    outcomes = {one.name: one for one in import_runs(str(logs), logs.parent / "runs")}

    assert {name: one.result for name, one in outcomes.items()} == {
        "a": "imported",
        "a/trial": "imported",
        "b": "failed",
    }
    assert str(outcomes["b"].error).endswith("hold nothing: the script ended before it logged.")


def test_tensors_of_tensorflow_2_are_read_as_what_they_are(bring: Runs, tmp_path: Path) -> None:
    """TensorFlow 2 keeps scalars, texts, images and histograms as tensors."""
    numpy = pytest.importorskip("numpy")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path / "logs" / "train"))
    kept: list[Summary] = [scalar_pb("epoch_loss", 0.5), histogram_pb("kernel", numpy.arange(4.0), buckets=2)]
    for summary in kept:
        writer.add_event(Event(wall_time=1.7e9, step=7, summary=summary))
    writer.close()

    run = bring(tmp_path / "logs")["train"]

    assert run.points == [("epoch_loss", 0.5, 7)]
    (medium,) = run.of(Media)
    assert (run.directory.path / medium.path).read_text() == '{"counts":[2.0,2.0],"edges":[0.0,1.5,3.0]}'


MLFLOW = """
import sys
import mlflow

path, uri = sys.argv[1:]
client = mlflow.MlflowClient(uri)
experiment = client.create_experiment("digits", path + "/kept" if uri.startswith("sqlite") else None)

def begin(name, **tags):
    return client.create_run(experiment, 1_700_000_000_000, {"mlflow.note.content": "a note", **tags}, name).info.run_id

run = begin("first", team="vision", baseline="", **{"mlflow.source.git.commit": "abc123"})
client.log_param(run, "lr", 0.5)
client.log_param(run, "code", "007")
for step in range(3):
    client.log_metric(run, "loss", 1 / 2**step, 1_700_000_001_000 + step, step)
client.log_metric(run, "odd", float("nan"), 1_700_000_002_000, -3)
client.log_metric(run, "far", float("inf"), 1_700_000_003_000, 2**40)
client.log_text(run, "hello", "notes/a.txt")
client.set_terminated(run, "KILLED", 1_700_000_060_500)
begin("inner", **{"mlflow.parentRunId": run})
client.delete_run(begin("deleted"))
"""


def run_script(code: str, *arguments: str, folder: Path) -> None:
    """Run a script of a user's, in a process and a folder of its own."""
    environment = {**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "WANDB_SILENT": "true"}
    command = [sys.executable, "-c", code, *arguments]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)


@pytest.fixture(params=["sqlite", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What MLflow leaves: the path of a store."""
    pytest.importorskip("mlflow")
    path = tmp_path / ("mine.db" if request.param == "sqlite" else "mlruns")
    run_script(MLFLOW, str(tmp_path), f"sqlite:///{path}" if path.suffix else str(path), folder=tmp_path)
    return path


def test_runs_of_mlflow_are_runs(bring: Runs, store: Path) -> None:
    """They keep their experiment, params as MLflow has them, points, tags, times, files, commit and status."""
    runs = bring(store)

    assert sorted(runs) == ["first", "inner"]
    run = runs["first"]
    assert run.params == {"lr": "0.5", "code": "007"}
    assert [(key, str(value), step) for key, value, step in run.points] == [
        ("loss", "1.0", 0),
        ("loss", "0.5", 1),
        ("loss", "0.25", 2),
        ("odd", "nan", -3),
        ("far", "inf", 2**40),
    ]
    assert run.of(Metrics)[0].time == 1_700_000_001.0
    assert run.of(Tags)[0].tags == ["baseline", "team=vision"]
    (artifact,) = run.of(Artifact)
    assert (run.directory.path / artifact.path / "a.txt").read_text() == "hello"
    (end,) = run.of(Finish)
    assert (run.of(Start)[0].time, end.time, end.status) == (1_700_000_000.0, 1_700_000_060.5, "killed")
    assert (run.file.project, run.file.notes, run.file.source.commit) == ("digits", "a note", "abc123")  # type: ignore[union-attr]
    assert (runs["inner"].file.group, runs["inner"].status) == ("first", "unknown")
    assert {one.outcome.result for one in bring(store).values()} == {"unchanged"}


def test_an_imported_run_can_be_sent_to_another_tracker(bring: Runs, logs: Path) -> None:
    """What came from TensorBoard is whole in MLflow, with its times and status."""
    pytest.importorskip("mlflow")
    run = bring(logs / "a" / "trial")["trial"]

    outcome = replay(run.directory, "mlflow", decide=decide)
    (verdict,) = verify(run.directory)

    assert (outcome.result, outcome.points) == ("complete", 1)
    assert verdict.problems() == []
    assert bring(logs / "a" / "trial")["trial"].outcome.result == "unchanged"


def test_a_store_of_runcast_brings_no_run_twice(bring: Runs, tmp_path: Path, logs: Path) -> None:
    """A run that runcast itself has written there is found in the folder of runs."""
    pytest.importorskip("mlflow")
    run = bring(logs / "a" / "trial")["trial"]
    replay(run.directory, "mlflow", decide=decide)

    (here,) = import_runs(str(tmp_path / "runs" / "mlflow.db"), tmp_path / "runs")
    (there,) = import_runs(str(tmp_path / "runs" / "mlflow.db"), tmp_path / "others")

    assert (here.result, here.id) == ("own", run.file.id)
    assert (there.result, there.points, there.status) == ("imported", 1, "finished")


def test_no_file_of_another_program_is_changed(bring: Runs, store: Path, tmp_path: Path) -> None:
    """MLflow would make its tables in any SQLite file."""
    if store.is_dir():
        return
    import sqlite3

    other = tmp_path / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("create table mine (a)")
    before: dict[str, Any] = {path.name: path.read_bytes() for path in (other, store)}

    bring(tmp_path, tool="mlflow")

    assert {path.name: path.read_bytes() for path in (other, store)} == before
    assert os.listdir(tmp_path / "runs")


WANDB = """
import sys
import wandb

with open("model.txt", "w") as file:
    file.write("weights")
run = wandb.init(
    project="digits", name="first", id="abc", mode="offline", resume="allow",
    config={"lr": 0.5, "net": {"depth": 3}}, tags=["small"], notes="a note", group="a group",
)
run.log({"loss": 0.5, "train": {"acc": 1}, "odd": float("nan"), "word": "hello"}, step=0)
run.log({"far": float("inf"), "big": 2**60, "global_step": 7}, step=2**33)
run.log({"rows": wandb.Table(columns=["a", "b"], data=[[1, "007"]]), "spread": wandb.Histogram([1, 2, 2], num_bins=2)})
run.summary["best"] = 0.25
model = wandb.Artifact("weights", "model")
model.add_file("model.txt")
run.log_artifact(model)
if "fails" in sys.argv:
    raise ValueError("as wanted")
run.finish()
"""


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """What W&B leaves offline: the folder of its runs."""
    pytest.importorskip("wandb")
    run_script(WANDB, folder=tmp_path)
    return tmp_path / "wandb"


def test_an_offline_run_of_wandb_is_a_run(bring: Runs, offline: Path, tmp_path: Path) -> None:
    """It keeps W&B's own steps, nested names, big ints, config, summary, media and artifacts."""
    run = bring(offline)["first"]

    assert run.params == {"lr": 0.5, "net/depth": 3}
    assert [(key, str(value), step) for key, value, step in sorted(run.points, key=str)] == [
        ("big", "1152921504606846976", 2**33),
        ("far", "inf", 2**33),
        ("global_step", "7", 2**33),
        ("loss", "0.5", 0),
        ("odd", "nan", 0),
        ("train/acc", "1", 0),
    ]
    assert run.of(Summary)[0].values == {"best": 0.25}
    media = {one.key: run.directory.path / one.path for one in run.of(Media)}
    assert media["rows"].read_text() == 'a,b\n1,"007"\n'
    assert media["spread"].read_text() == '{"counts":[1,2],"edges":[1,1.5,2]}'
    (artifact,) = run.of(Artifact)
    assert (artifact.name, (run.directory.path / artifact.path).read_text()) == ("weights", "weights")
    assert (run.file.project, run.file.group, run.file.notes) == ("digits", "a group", "a note")
    assert (run.of(Tags)[0].tags, run.status) == (["small"], "finished")
    assert run.outcome.dropped == {"word": "is no number"}


def test_a_run_of_wandb_that_was_resumed_is_one_run(bring: Runs, offline: Path, tmp_path: Path) -> None:
    """The files of all of its processes belong to it; the last one says how it ended."""
    bring(offline)
    with pytest.raises(subprocess.CalledProcessError):
        run_script(WANDB, "fails", folder=tmp_path)

    runs = bring(offline)

    assert {name: (one.outcome.result, one.status) for name, one in runs.items()} == {"first": ("extended", "failed")}
    assert [value for key, value, _ in runs["first"].points if key == "loss"] == [0.5, 0.5]


def test_a_folder_of_several_tools_is_asked_about(bring: Runs, offline: Path, logs: Path) -> None:
    """Nothing is guessed: the message names the tools, and the option that chooses."""
    with pytest.raises(OptionError, match=r"several tools: tensorboard, wandb\. Choose one, as in: --from tensorboard"):
        bring(offline.parent)

    assert list(bring(offline.parent, tool="wandb")) == ["first"]
