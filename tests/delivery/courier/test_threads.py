"""Delivery in threads: for Tracker objects, and for who wants the tracker's handle in the training process."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.core.errors import TrackerUnavailableError
from runcast.delivery import attempts
from runcast.integrations.contract import TrackedRun
from runcast.testing import MemoryTracker
from runcast.values.points import Point
from tests.delivery.odd_trackers import Exploding, Refusing

Begin = Callable[..., runcast.Run]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start a run in the test's folder; pauses between attempts are short, and no thread may outlive the test."""
    monkeypatch.setattr(attempts, "backoff_s", lambda attempt, wished_s=None: 0.01)

    def begin(report_to: Any, **arguments: Any) -> runcast.Run:
        return runcast.init(dir=tmp_path / "runs", report_to=report_to, **arguments)

    yield begin
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("runcast-")] == []


class Second(MemoryTracker):
    name = "second"


def test_an_object_gets_the_run_in_this_process(start: Begin) -> None:
    """A Tracker object is set up with its options, gets every record, and stays usable by its owner."""

    class Handle(MemoryTracker):
        name = "handle"
        run: TrackedRun | None = None

        def setup(self, run: TrackedRun) -> None:
            self.run = run
            super().setup(run)

    tracker = Handle()
    with start(tracker, setup={"handle": {"entity": object}}, name="lucky") as run:
        run.log({"loss": 0.5}, step=3)
        assert run.flush(600)
        assert [point[:3] for point in Handle.reading_of(run.dir).points] == [("loss", 0.5, 3)]
        assert list(run.urls) == ["handle"]

    assert tracker.run is not None
    assert (tracker.run.name, tracker.run.options) == ("lucky", {"entity": object})
    assert Handle.reading_of(run.dir).status == "finished"


def test_classes_can_be_delivered_to_in_threads(start: Begin) -> None:
    """With delivery="thread" every tracker has a thread of its own instead of a process."""
    with start([MemoryTracker, Second], delivery="thread") as run:
        run.log({"loss": 0.5}, step=0)
        names = {thread.name for thread in threading.enumerate()}

    assert {"runcast-memory", "runcast-second"} <= names
    for tracker in (MemoryTracker, Second):
        assert [point[:3] for point in tracker.reading_of(run.dir).points] == [("loss", 0.5, 0)]


def test_a_broken_tracker_does_not_stop_the_others(start: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """One tracker has the wrong key, one raises: the third gets everything, and the user is told once of each."""
    with start([Refusing(), Exploding(), MemoryTracker()]) as run:
        for step in range(5):
            run.log({"loss": 0.5}, step=step)

    assert len(MemoryTracker.reading_of(run.dir).points) == 5
    statistics = run.statistics().trackers
    assert statistics["refusing"].phase == "refused"
    assert statistics["exploding"].refused == {"point: ZeroDivisionError: in the SDK": 5}
    assert (statistics["memory"].delivered, statistics["memory"].waiting) == (5, 0)
    told = [message for message in caplog.messages if "refusing has failed" in message]
    assert told == [
        "refusing has failed: the key is wrong. Log in with: refusing login. Training continues and nothing is lost."
    ]


def test_strict_raises_at_the_next_log(start: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would rather stop than train without a tracker is told where the script can see it."""
    run = start(Refusing(), strict=True)

    def log_until_it_raises() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            monkeypatch.setattr(run, "_check_at", 0.0)
            run.log({"loss": 0.5})

    with pytest.raises(TrackerUnavailableError, match="refusing: the key is wrong"):
        log_until_it_raises()
    run.finish("failed")


def test_the_end_comes_in_time_when_a_tracker_hangs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`finish` returns when its time is over, and says what is still to be delivered and how."""
    release = threading.Event()

    class Stuck(MemoryTracker):
        name = "stuck"

        def log_metrics(self, points: Any) -> None:
            release.wait()
            super().log_metrics(points)

    run = runcast.init(dir=tmp_path / "runs", report_to=Stuck())
    run.log({"loss": 0.5}, step=0)

    run.finish(timeout_s=0.2)  # it returns: nothing has released the tracker yet

    release.set()
    for thread in threading.enumerate():
        if thread.name == "runcast-stuck":
            thread.join(10)
    assert [point[:3] for point in Stuck.reading_of(run.dir).points] == [("loss", 0.5, 0)]


def test_what_is_left_is_said_with_the_command(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The last message names the tracker and the command that delivers the rest."""
    release = threading.Event()

    class Stuck(MemoryTracker):
        name = "stuck"

        def setup(self, run: TrackedRun) -> None:
            release.wait()
            super().setup(run)

    run = runcast.init(dir=tmp_path / "runs", report_to=Stuck())
    run.finish(timeout_s=0.1)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "runcast-stuck":
            thread.join(10)

    assert f"deliver it with: runcast sync {run.dir}" in caplog.messages[-1]
    assert caplog.messages[-1].startswith("stuck (starting) does not have everything yet")


def test_logging_goes_on_while_a_tracker_is_slow(start: Begin) -> None:
    """A tracker that blocks does not block `log`."""
    entered, release = threading.Event(), threading.Event()

    class Slow(MemoryTracker):
        name = "slow"

        def log_metrics(self, points: Any) -> None:
            entered.set()
            release.wait()
            super().log_metrics(points)

    run = start(Slow())
    run.log({"loss": 0.5}, step=0)
    assert entered.wait(120)
    for step in range(1, 100):
        run.log({"loss": 0.5}, step=step)
    assert run.statistics().logged == 100
    release.set()
    run.finish()

    assert len(Slow.reading_of(run.dir).points) == 100


def test_a_resumed_run_is_flushed_for_real(start: Begin) -> None:
    """After a resume `flush` waits for the new points, whatever the last session's state says."""
    with start(MemoryTracker(), id="run") as run:
        run.log({"loss": 0.5}, step=0)
    with start(MemoryTracker(), id="run", resume="allow") as run:
        run.log({"loss": 0.25}, step=1)
        assert run.flush(600)

        assert [point[:3] for point in MemoryTracker.reading_of(run.dir).points] == [
            ("loss", 0.5, 0),
            ("loss", 0.25, 1),
        ]


def test_points_hold_python_numbers(start: Begin) -> None:
    """A tracker receives ints and floats of Python, whatever was logged."""
    np = pytest.importorskip("numpy")
    received: list[Point] = []

    class Typed(MemoryTracker):
        name = "typed"

        def log_metrics(self, points: Any) -> None:
            received.extend(points)
            super().log_metrics(points)

    with start(Typed()) as run:
        run.log({"a": np.float32(0.5), "b": np.int64(3), "c": True}, step=np.int64(7))

    assert [(type(point.value), type(point.step), type(point.time)) for point in received] == [
        (float, int, float),
        (int, int, float),
        (int, int, float),
    ]
