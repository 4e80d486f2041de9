"""`runcast import`: runs that scripts kept with the SDKs alone become runs like any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runcast.core.errors import OptionError
from runcast.delivery.liveness import run_status
from runcast.history.importing import Imported
from runcast.history.sources import import_runs
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Finish, Metrics, Params, Start, points

Runs = Callable[..., dict[str, "Found"]]


class Found:
    """A run that was imported, as its folder has it."""

    def __init__(self, outcome: Imported) -> None:
        self.outcome, self.directory = outcome, RunDirectory(Path(outcome.path))
        self.file: RunFile = self.directory.load()
        self.records: list[AnyRecord] = list(JournalReader(self.directory.journal))
        self.status = run_status(self.directory, self.file)

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def points(self) -> list[tuple[str, Any, int]]:
        return [(key, value, step) for one in self.of(Metrics) for key, value, step, _ in points(one)]

    @property
    def params(self) -> dict[str, Any]:
        values = {key: value for one in self.of(Params) for key, value in one.values.items()}
        assert values.pop("imported_from")
        return values


@pytest.fixture
def bring(tmp_path: Path) -> Runs:
    """Import into the test's folder of runs; return the runs by name."""

    def call(source: Path | str, **arguments: Any) -> dict[str, Found]:
        return {one.name: Found(one) for one in import_runs(str(source), tmp_path / "runs", **arguments)}

    return call


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """What Lightning's CSVLogger leaves."""
    folder = tmp_path / "lightning_logs" / "version_0"
    folder.mkdir(parents=True)
    (folder / "hparams.yaml").write_text("lr: 0.5\nnet:\n  depth: 3\n")
    (folder / "metrics.csv").write_text(
        "epoch,step,train_loss,val_loss\n0,1,0.75,\n0,2,nan,\n0,2,,0.5\n1,4,inf,\n1,4,,-1e-3\n"
    )
    return tmp_path / "lightning_logs"


def test_a_table_of_lightning_is_a_run(bring: Runs, table: Path) -> None:
    """Each cell is a point at its row's step, an empty one none; the hyperparameters are params."""
    run = bring(table)["version_0"]

    assert run.params == {"lr": 0.5, "net/depth": 3}
    assert [(key, str(value), step) for key, value, step in run.points if key != "epoch"] == [
        ("train_loss", "0.75", 1),
        ("train_loss", "nan", 2),
        ("val_loss", "0.5", 2),
        ("train_loss", "inf", 4),
        ("val_loss", "-0.001", 4),
    ]
    assert (run.file.project, run.status, run.file.trackers) == ("lightning_logs", "finished", {})
    assert run.of(Finish)[0].time == (table / "version_0" / "metrics.csv").stat().st_mtime


def test_a_second_import_brings_only_what_is_new(bring: Runs, table: Path) -> None:
    """The same source makes no second run; rows that it got since then, and new params, are added to the first."""
    first = bring(table)["version_0"]
    again = bring(table)["version_0"]
    file = table / "version_0" / "metrics.csv"
    file.write_text(file.read_text() + "2,6,0.25,\n")
    (table / "version_0" / "hparams.yaml").write_text("lr: 0.5\nnet:\n  depth: 4\n")
    grown = bring(table)["version_0"]

    assert [one.outcome.result for one in (first, again, grown)] == ["imported", "unchanged", "extended"]
    assert again.records == first.records
    assert len(grown.points) == len(first.points) + 2
    assert grown.points[-2:] == [("epoch", 2, 6), ("train_loss", 0.25, 6)]
    assert grown.params == {"lr": 0.5, "net/depth": 4}
    assert [one.session for one in grown.of(Start)] == [1, 2]
    assert grown.status == "finished"
    assert [path.name for path in (table.parent / "runs").iterdir() if path.is_dir()] == [first.file.id]


def test_an_interrupted_import_leaves_no_half_run(bring: Runs, table: Path) -> None:
    """What a killed import left aside is no run, and the next import begins anew."""
    half = table.parent / "runs" / ".importing" / "files-000000000000"
    half.mkdir(parents=True)
    (half / "run.json").write_text("{}")

    assert list(bring(table)) == ["version_0"]
    assert not half.exists()


def test_lines_of_json_are_a_run(bring: Runs, tmp_path: Path) -> None:
    """Numbers are points, nested names are joined, a line that was cut is passed by, and a text is counted."""
    lines = [
        {"step": -1, "loss": 2**60, "time": 1.7e9},
        {"step": 2**40, "eval": {"acc": 0.5}, "note": "x", "time": 1.7e9 + 1},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "lo')

    run = bring(tmp_path / "mine.jsonl")["mine.jsonl"]

    assert run.points == [("loss", 2**60, -1), ("eval/acc", 0.5, 2**40)]
    assert [one.time for one in run.of(Metrics)] == [1.7e9, 1.7e9 + 1]
    assert run.outcome.dropped == {"note": "is no number"}


def test_the_last_state_of_transformers_counts(bring: Runs, tmp_path: Path) -> None:
    """Each checkpoint has a state: the last one has all, under the names that the Trainer gives to trackers."""
    for step in (5, 10):
        folder = tmp_path / "out" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        history = [{"loss": 1 / at, "epoch": at / 10, "step": at} for at in range(5, step + 1, 5)]
        state = {"global_step": step, "max_steps": 20, "log_history": [*history, {"eval_loss": 0.5, "step": step}]}
        (folder / "trainer_state.json").write_text(json.dumps(state))

    run = bring(tmp_path / "out")["out"]

    assert [point for point in run.points if "loss" in point[0]] == [
        ("train/loss", 0.2, 5),
        ("train/loss", 0.1, 10),
        ("eval/loss", 0.5, 10),
    ]
    assert run.status == "unknown"  # 10 of 20 steps


def test_a_secret_does_not_enter_the_journal(bring: Runs, table: Path) -> None:
    """What another tool kept as it was is redacted here, as everything is."""
    (table / "version_0" / "hparams.yaml").write_text("lr: 1\napi_key: hf_abcdefghijklmnopqrstuvwxyz012345\n")

    run = bring(table)["version_0"]

    assert "abcdefghijkl" not in run.directory.journal.read_text() + run.directory.run_json.read_text()


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda path: None, "There is no"),
        (lambda path: path.mkdir(), "holds no runs that can be imported"),
        (lambda path: path.write_text("hello"), "holds no runs that can be imported"),
    ],
)
def test_a_source_of_nobody_is_an_error_with_a_hint(
    bring: Runs, tmp_path: Path, make: Callable[[Path], Any], hint: str
) -> None:
    """The message lists what can be imported, and nothing is made."""
    make(tmp_path / "source")

    with pytest.raises(OptionError, match=hint):
        bring(tmp_path / "source")

    assert not (tmp_path / "runs").exists()


def test_an_unknown_or_unsupported_tool_is_refused_by_name(bring: Runs, table: Path) -> None:
    """`--from` takes the tools that can be imported from, and says which they are."""
    with pytest.raises(OptionError, match=r"CodeCarbon cannot be imported from.*tensorboard"):
        bring(table, tool="codecarbon")
    with pytest.raises(OptionError, match="There is no 'neptun' to import from"):
        bring(table, tool="neptun")


def test_a_table_without_numbers_fails_and_the_others_are_imported(bring: Runs, table: Path) -> None:
    """An empty file is reported with its path."""
    (table / "version_1").mkdir()
    (table / "version_1" / "metrics.csv").write_text("")

    outcomes = {one.name: one for one in import_runs(str(table), table.parent / "runs")}

    assert outcomes["version_0"].result == "imported"
    assert outcomes["version_1"].result == "failed"
    assert "has no numbers" in str(outcomes["version_1"].error)
    assert not Path(outcomes["version_1"].path).exists()
