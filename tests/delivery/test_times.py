"""A run that is delivered later has the times of its training, in every tracker that stores them."""

import contextlib
import json
import re
import sqlite3
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import runcast
from runcast.autodetect import decide
from runcast.core.errors import OptionError
from runcast.history.replaying import replay
from runcast.history.sync import close, sync
from runcast.history.verify import verify
from runcast.integrations.contract import Ending, Tracker
from runcast.journal.layout import RunDirectory
from runcast.journal.seal import seal_of
from runcast.testing import MemoryTracker

BEGAN, ENDED = 1_700_000_000.25, 1_700_000_042.5  # a training of 42 s, long ago
LATER = 1_000.0  # after so many seconds, it was resumed
DEAD = 2**22 + 1  # no process has this number

MakeOld = Callable[..., RunDirectory]


@pytest.fixture
def make_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeOld:
    """Make a run that began and ended long ago, of which nothing was delivered."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")

    def make(report_to: object, status: str | None = "finished") -> RunDirectory:
        run = runcast.init("old", config={"lr": 0.5}, id="run", report_to=report_to, dir=tmp_path, delivery="later")
        for step in range(3):
            run.log({"loss": 0.5 / (step + 1), "note": runcast.Text("x")}, step=step)
        run.log_summary({"best": 0.25})
        run.add_tags("a tag")
        run.finish(status or "finished")  # type: ignore[arg-type]
        directory = RunDirectory(run.dir)
        lines = directory.journal.read_bytes().split(b"\n")
        kept = [line for line in lines if line and not (status is None and b'"type":"finish"' in line)]
        for at, line in enumerate(kept):
            moment = BEGAN + (ENDED - BEGAN) * at / (len(kept) - 1)
            kept[at] = re.sub(rb'"time":[0-9.e+]+', f'"time":{moment!r}'.encode(), line)
        directory.journal.write_bytes(b"".join(line + b"\n" for line in kept))
        file = directory.load()
        file.created = file.started = BEGAN
        if status is None:
            file.pid, file.pid_began = DEAD, 0
        file.seal = seal_of(file)
        directory.save(file)
        return directory

    return make


def times_in_mlflow(directory: RunDirectory) -> tuple[float, float]:
    """Ask the database."""
    with contextlib.closing(sqlite3.connect(directory.path.parent / "mlflow.db")) as database:
        ((start, end),) = database.execute("select start_time, end_time from runs").fetchall()
        moments = [moment for (moment,) in database.execute("select timestamp from metrics")]
    assert all(start <= moment <= end for moment in moments)
    return start / 1000, end / 1000


def times_in_tensorboard(directory: RunDirectory) -> tuple[float, float]:
    """Read every event of every file, whatever it holds."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = directory.tracker("tensorboard").glob("*tfevents*")
    moments = [event.wall_time for file in files for event in EventFileLoader(str(file)).Load()]
    return min(moments), max(moments)


def times_in_comet(directory: RunDirectory) -> tuple[float, float]:
    """Open the archive that `comet upload` takes."""
    (archive,) = directory.tracker("comet_ml").glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        description = json.loads(content.read("experiment.json"))
    return description["start_time"] / 1000, description["stop_time"] / 1000


READERS = {"mlflow": times_in_mlflow, "tensorboard": times_in_tensorboard, "comet_ml": times_in_comet}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_a_run_that_is_delivered_later_has_the_times_of_its_training(name: str, make_old: MakeOld) -> None:
    """Start, end and every event lie between the first record and the last, in the service's own files."""
    directory = make_old([name])

    (outcome,) = sync(directory, decide=decide)

    assert outcome.result == "complete"
    assert READERS[name](directory) == (pytest.approx(BEGAN, abs=0.002), pytest.approx(ENDED, abs=0.002))
    assert [verdict.problems() for verdict in verify(directory)] == [[]]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_training_that_died_ends_with_its_last_record(name: str, make_old: MakeOld) -> None:
    """Nobody wrote an end: a delivery that finds the training dead, long after, gives the last record's time."""
    directory = make_old([name], status=None)

    sync(directory, decide=decide)

    _, ended = READERS[name](directory)
    assert ended == pytest.approx(ENDED, abs=0.002)
    assert [(verdict.status, verdict.problems()) for verdict in verify(directory)] == [("crashed", [])]


def test_a_run_that_is_closed_by_hand_ends_with_its_last_record(make_old: MakeOld) -> None:
    """`runcast sync --close` is typed when somebody notices; the training was over before."""
    directory = make_old("none", status=None)

    close(directory, "crashed")

    (end,) = (json.loads(line) for line in directory.journal.read_bytes().splitlines() if b'"type":"finish"' in line)
    assert end["time"] == ENDED


@pytest.mark.slow
def test_a_start_an_end_and_points_at_other_times_are_found(make_old: MakeOld) -> None:
    """`verify` is not green over a run whose times are those of its delivery."""
    directory = make_old(["mlflow"])
    sync(directory, decide=decide)
    now = int(time.time() * 1000)
    with contextlib.closing(sqlite3.connect(directory.path.parent / "mlflow.db")) as database, database:
        database.execute("update runs set start_time = start_time + 73000, end_time = end_time + 2000")
        database.execute(f"update metrics set timestamp = {now} where step = 1")

    (verdict,) = verify(directory)

    assert verdict.problems() == [
        "1 point has another time than in the training",
        "its start is +73.0 s off that of the training",
        "its end is +2.0 s off that of the training",
    ]


def test_a_tracker_is_told_when_the_training_ended(make_old: MakeOld) -> None:
    """`finish` gets the status, the error, the end and the number of the session."""
    directory = make_old(MemoryTracker, status="failed")

    sync(directory, decide=decide)

    reading = MemoryTracker.reading_of(directory.path)
    assert (reading.status, reading.ended_at) == ("failed", ENDED)


# A resumed and killed training, in every tracker that keeps times


def add_session(root: Path, number: int, report_to: object) -> RunDirectory:
    """Begin a run of long ago, or resume it: three steps, of which nothing is delivered; the second one is killed."""
    began, first_step = BEGAN + LATER * (number - 1), 3 * (number - 1)
    run = runcast.init("old", id="run", report_to=report_to, dir=root, delivery="later", resume="allow")
    for step in range(first_step, first_step + 3):
        run.log({"loss": 0.5}, step=step)
    run.finish()
    directory = RunDirectory(run.dir)
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    new = max(at for at, line in enumerate(lines) if b'"type":"start"' in line)
    if number == 2:
        lines = [line for at, line in enumerate(lines) if at < new or b'"type":"finish"' not in line]
    for at in range(new, len(lines)):
        lines[at] = re.sub(rb'"time":[0-9.e+]+', f'"time":{began + 10.5 * (at - new)!r}'.encode(), lines[at])
    directory.journal.write_bytes(b"".join(lines))
    file = directory.load()
    file.created, file.started = BEGAN, began
    if number == 2:
        file.pid, file.pid_began = DEAD, 0
        file.sessions[-1] = msgspec.structs.replace(file.sessions[-1], started=began, pid=DEAD)
    file.seal = seal_of(file)
    directory.save(file)
    return directory


# By hand: the start record at 0 s, then a step each 10.5 s; after 1,000 s the same again, and the last step is the end.
START, END = BEGAN, BEGAN + LATER + 31.5
POINTS = {step: BEGAN + 10.5 * (step + 1) for step in range(3)} | {
    step: BEGAN + LATER + 10.5 * (step - 2) for step in range(3, 6)
}
Kept = tuple[float | None, float | None, dict[int, float]]  # the start, the end and the time of each step


def kept_by_mlflow(directory: RunDirectory) -> Kept:
    """Ask the database."""
    with contextlib.closing(sqlite3.connect(directory.path.parent / "mlflow.db")) as database:
        ((start, end),) = database.execute("select start_time, end_time from runs").fetchall()
        moments = {step: at / 1000 for step, at in database.execute("select step, timestamp from metrics")}
    return start / 1000, end / 1000, moments


def kept_by_tensorboard(directory: RunDirectory) -> Kept:
    """Read every event of every file."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    files = directory.tracker("tensorboard").glob("*tfevents*")
    events = [event for file in files for event in EventFileLoader(str(file)).Load()]
    moments = [event.wall_time for event in events]
    points = {event.step: event.wall_time for event in events if any(v.tag == "loss" for v in event.summary.value)}
    return min(moments), max(moments), points


def kept_by_comet(directory: RunDirectory) -> Kept:
    """Open the archives that `comet upload` takes, one for each delivery."""
    starts, ends, points = [], [], {}
    for archive in directory.tracker("comet_ml").glob("*.zip"):
        with zipfile.ZipFile(archive) as content:
            description = json.loads(content.read("experiment.json"))
            messages = [json.loads(line)["payload"] for line in content.read("messages.json").splitlines()]
        starts.append(description["start_time"] / 1000)
        ends.append(description["stop_time"] / 1000)
        metrics = [m for m in messages if m.get("metric") and m["metric"]["metricName"] == "loss"]
        points |= {message["metric"]["step"]: message["local_timestamp"] / 1000 for message in metrics}
    return min(starts), max(ends), points


def kept_by_clearml(directory: RunDirectory) -> Kept:
    """Read the events of the offline session, which has no start and no end."""
    points = {}
    for file in directory.tracker("clearml").rglob("metrics.jsonl"):
        events = [event for line in file.read_text().splitlines() for event in json.loads(line)]
        points |= {event["iter"]: event["timestamp"] / 1000 for event in events if event["metric"] == "loss"}
    return None, None, points


def kept_by_wandb(directory: RunDirectory) -> Kept:
    """Read the transaction files, of which each process has one: LevelDB's log format; W&B has no end of its own."""
    from wandb.proto.wandb_internal_pb2 import Record

    starts, points = [], {}
    for file in directory.tracker("wandb").rglob("*.wandb"):
        data, at, record = file.read_bytes(), 7, b""  # behind the file's header
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768  # no piece begins in the last six bytes of a block
                continue
            length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
            record += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last piece
                found, record = Record.FromString(record), b""
                row = {item.key or item.nested_key[0]: item.value_json for item in found.history.item}
                if "loss" in row:
                    points[int(row["global_step"])] = float(row["_timestamp"])
                if found.HasField("run"):
                    starts.append(found.run.start_time.ToNanoseconds() / 1e9)
    return min(starts), None, points


KEPT = {
    "wandb": kept_by_wandb,
    "mlflow": kept_by_mlflow,
    "comet_ml": kept_by_comet,
    "clearml": kept_by_clearml,
    "tensorboard": kept_by_tensorboard,
}


def check_times(directory: RunDirectory) -> None:
    """Compare what each tracker keeps with the training, and with what `verify` says."""
    for name, read in KEPT.items():
        start, end, points = read(directory)
        assert (name, start) == (name, None if start is None else pytest.approx(START, abs=0.002))
        assert (name, end) == (name, None if end is None else pytest.approx(END, abs=0.002))
        assert (name, points) == (name, pytest.approx(POINTS, abs=0.002))
    assert {verdict.name: verdict.problems() for verdict in verify(directory)} == {name: [] for name in KEPT}


@pytest.mark.slow
def test_a_resumed_and_killed_training_keeps_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered in two parts: the start stays the first one, the end is the last record's, each point has its own."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    sync(add_session(tmp_path, 1, list(KEPT)), decide=decide)
    directory = add_session(tmp_path, 2, list(KEPT))

    outcomes = sync(directory, decide=decide)

    assert {outcome.result for outcome in outcomes} == {"complete"}
    check_times(directory)


@pytest.mark.slow
def test_a_replayed_training_keeps_its_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In trackers that had no part in it."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    add_session(tmp_path, 1, "none")
    directory = add_session(tmp_path, 2, "none")

    outcomes = [replay(directory, name, decide=decide) for name in KEPT]

    assert {outcome.result for outcome in outcomes} == {"complete"}
    check_times(directory)


def test_each_old_signature_is_named() -> None:
    """A Tracker of an earlier version says at once what has changed; one that names an argument otherwise does not."""
    changed = r"finish\(self, status, error\) is now finish\(self, ending\); read\(self\) is now read\(self, run\)\."
    with pytest.raises(OptionError, match=rf"Old was written for another version of runcast: {changed}"):

        class Old(Tracker):
            def finish(self, status: Any, error: str | None = None) -> None:  # type: ignore[override]
                """End the run."""

            def read(self) -> Any:  # type: ignore[override]
                """Read the run back."""

    class New(Tracker):
        def finish(self, end: Ending, *, loud: bool = False) -> None:
            """End the run."""


def test_an_ending_without_more_is_one_of_the_first_session() -> None:
    """For tests of a Tracker."""
    assert Ending("failed") == Ending(status="failed", error=None, ended_at=0.0, session=1)
