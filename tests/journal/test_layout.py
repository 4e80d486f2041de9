"""Where a run lies on disk, and how a user's word for it is found."""

import json
import os
import resource
import signal
from pathlib import Path

import pytest

import runcast
from runcast.core.errors import JournalError
from runcast.history.finding import find_run, list_runs
from runcast.journal.layout import RunDirectory, RunFile, valid_id
from runcast.journal.paths import write_atomically


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Make three runs, the oldest first."""
    for index, (run_id, name) in enumerate(
        [("20260101-a1", "calm-owl-1"), ("20260101-b2", "bold-fox-2"), ("20260202-c3", "bold-fox-2")]
    ):
        directory = RunDirectory(tmp_path / "runs" / run_id)
        directory.create()
        directory.save(RunFile(id=run_id, name=name, project="p", created=1.0))
        os.utime(directory.run_json, (1000 + index, 1000 + index))
    (tmp_path / "runs" / "no-run").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    return tmp_path / "runs"


def test_runs_are_listed_oldest_first(runs: Path, tmp_path: Path) -> None:
    """Only folders with an identity are runs; a folder that is not there holds none."""
    assert [run.path.name for run in list_runs(runs)] == ["20260101-a1", "20260101-b2", "20260202-c3"]
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (None, "20260202-c3"), ("", "20260202-c3"), ("last", "20260202-c3"), ("latest", "20260202-c3"),
        ("20260101-b2", "20260101-b2"), ("20260202", "20260202-c3"), ("calm-owl-1", "20260101-a1"),
    ],
)  # fmt: skip
def test_a_run_is_found_by_what_people_call_it(word: str | None, expected: str, runs: Path) -> None:
    """The newest, an id, the beginning of an id or a name lead to the run."""
    assert find_run(word, runs).path.name == expected


def test_a_run_is_found_by_its_path(runs: Path, tmp_path: Path) -> None:
    """A path leads to the run wherever it has been moved."""
    moved = (runs / "20260101-a1").rename(tmp_path / "moved")

    assert find_run(str(moved), runs).path == moved


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "2026",
            r"3 runs in .* match '2026'\. It could be \S+ \(20260101-a1\), \S+ \(20260101-b2\), \S+ \(20260202-c3\)",
        ),
        (
            "bold-fox-2",
            r"2 runs in .* match 'bold-fox-2'\. It could be bold-fox-2 \(20260101-b2\), bold-fox-2 \(20260202-c3\)",
        ),
        ("xyz", r"No run in .* matches 'xyz'\. The newest are \S+ \(20260101-a1\), .*, \S+ \(20260202-c3\)"),
    ],
)
def test_a_word_that_finds_no_single_run_is_told_what_there_is(word: str, message: str, runs: Path) -> None:
    """The error lists the runs that could be meant."""
    with pytest.raises(JournalError, match=message):
        find_run(word, runs)


def test_no_runs_at_all_says_how_to_make_one(tmp_path: Path) -> None:
    """An empty place leads to the demo."""
    with pytest.raises(JournalError, match=r"There are no runs in .*runcast demo"):
        find_run(None, tmp_path)


def test_an_identity_survives_the_way_to_disk(tmp_path: Path) -> None:
    """run.json holds what was saved, readable for people."""
    directory = RunDirectory(tmp_path)
    file = RunFile(
        id="a", name="größe", project="p", created=1.5, tags=["x"], config={"lr": 0.1, "deep": {"a": [1, None]}}
    )

    directory.save(file)

    assert directory.load() == file
    assert json.loads(directory.run_json.read_text())["name"] == "größe"
    assert len(directory.run_json.read_text().splitlines()) > 10


def test_an_identity_with_unknown_fields_is_read(tmp_path: Path) -> None:
    """A later runcast may have added fields."""
    (tmp_path / "run.json").write_text('{"id": "a", "name": "n", "project": "p", "created": 1, "mood": "good"}')

    assert RunDirectory(tmp_path).load().id == "a"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"is not a run: run\.json cannot be read"),
        ("", r"run\.json is damaged"),
        ('{"id": 1}', r"run\.json is damaged"),
        (
            '{"version": 2, "id": "a", "name": "n", "project": "p", "created": 1}',
            r"is of version 2, this runcast reads up to 1",
        ),
    ],
)
def test_an_identity_that_cannot_be_used_says_why(content: str | None, message: str, tmp_path: Path) -> None:
    """A missing, damaged or newer run.json is one clear error."""
    if content is not None:
        (tmp_path / "run.json").write_text(content)

    with pytest.raises(JournalError, match=message):
        RunDirectory(tmp_path).load()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A disk that is full half-way leaves the old content and no litter."""
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_atomically(path, b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)

    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir() if file.name != "home"] == ["state.json"]


@pytest.mark.parametrize("text", ["a", "A-1_b", "0", "x" * 64])
def test_ids_that_every_service_takes(text: str) -> None:
    """Letters, digits, dashes and underscores make an id."""
    assert valid_id(text)


@pytest.mark.parametrize("text", ["", "-a", "_a", "a b", "a/b", "..", "a.b", "größe", "a\n", "x" * 65])
def test_ids_that_some_service_would_refuse(text: str) -> None:
    """An id is a file name on every system and has no character that a service refuses."""
    assert not valid_id(text)


def test_a_run_directory_can_be_moved(tmp_path: Path) -> None:
    """Records refer to files by paths inside the run's folder."""
    run = runcast.init(dir=tmp_path / "runs", report_to=None)
    run.log({"note": runcast.Text("x")}, step=0)
    run.log_artifact(__file__)
    run.finish()

    assert str(tmp_path).encode() not in (run.dir / "journal.jsonl").read_bytes()
