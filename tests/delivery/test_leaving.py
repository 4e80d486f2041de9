"""An SDK that wants to leave the process ends its own delivery, and nothing waits for it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.delivery import attempts
from runcast.history.sync import sync
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state
from runcast.testing import MemoryTracker
from tests.delivery.leaving_trackers import (
    LeavesInConstructor,
    LeavesInFinish,
    LeavesInLog,
    LeavesInSetup,
    Panics,
    Restarting,
)

Begin = Callable[..., runcast.Run]
CARRIERS = pytest.mark.parametrize("delivery", ["process", "thread"])


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Start a run in the test's folder."""
    monkeypatch.setattr(attempts, "backoff_s", lambda attempt, wished_s=None: 0.01)

    def begin(report_to: Any, **arguments: Any) -> runcast.Run:
        return runcast.init(dir=tmp_path / "runs", report_to=report_to, **arguments)

    return begin


@CARRIERS
@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        (LeavesInSetup, "setup raised SystemExit: no more"),
        (LeavesInLog, "log_metrics raised SystemExit: 0"),
        (LeavesInConstructor, "raised SystemExit: licence"),
    ],
)
def test_a_tracker_that_leaves_is_refused_and_nothing_waits_for_it(
    start: Begin, tracker: type[MemoryTracker], said: str, delivery: str
) -> None:
    """The state says what it raised; `flush` and `finish` return long before their time, and the others are whole."""
    run = start([tracker, MemoryTracker], delivery=delivery)
    run.log({"loss": 0.5}, step=0)
    began = time.monotonic()

    flushed, finished = run.flush(600), run.finish(timeout_s=600)

    assert (flushed, finished, time.monotonic() - began < 300) == (False, False, True)
    state = load_state(run.dir / "trackers" / tracker.name)
    assert state is not None
    assert (state.phase, said in (state.error or "")) == ("refused", True)
    assert [point[:3] for point in MemoryTracker.reading_of(run.dir).points] == [("loss", 0.5, 0)]


@CARRIERS
def test_a_tracker_that_leaves_when_it_is_closed_is_refused(start: Begin, delivery: str) -> None:
    """Its points are there, its end is not, and `finish` says so."""
    run = start(LeavesInFinish, delivery=delivery)
    run.log({"loss": 0.5}, step=0)

    assert run.finish(timeout_s=600) is False
    state = load_state(run.dir / "trackers" / "in_finish")
    assert state is not None
    assert (state.phase, state.error) == ("refused", "finish raised KeyboardInterrupt: ")


@CARRIERS
def test_whatever_is_raised_is_noticed(start: Begin, delivery: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expects ends the delivery; a thread tells it as Python does."""
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)
    run = start(Panics, delivery=delivery)
    run.log({"loss": 0.5}, step=0)

    assert run.flush(600) is False
    assert run.finish(timeout_s=600) is False
    state = load_state(run.dir / "trackers" / "panics")
    assert state is not None
    assert (state.phase, state.error) == ("refused", "Panic: unreachable code")
    assert len(seen) == (delivery == "thread")


def test_a_tracker_whose_import_leaves_is_refused(start: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an SDK does that finds no licence."""
    monkeypatch.setenv("LEAVING_AT_IMPORT", "1")
    run = start(LeavesInSetup)

    assert run.flush(600) is False
    assert run.finish(timeout_s=600) is False
    assert "importing it raised SystemExit: at import" in (load_state(run.dir / "trackers/in_setup").error or "")  # type: ignore[union-attr]


@CARRIERS
def test_a_tracker_that_wants_a_fresh_process_gets_one(start: Begin, delivery: str) -> None:
    """Each point is there once, and the process is another one; in a thread, the Tracker is."""
    run = start(Restarting, delivery=delivery)
    for step in range(10):
        run.log({"loss": step / 4}, step=step)

    assert run.finish(timeout_s=600) is True
    found = sorted(point[:3] for point in Restarting.reading_of(run.dir).points)
    assert found == [("loss", step / 4, step) for step in range(10)]


def test_sync_starts_a_fresh_process_too(start: Begin) -> None:
    """It need not be called twice."""
    run = start(Restarting, delivery="later")
    for step in range(10):
        run.log({"loss": step / 4}, step=step)
    run.finish()

    (outcome,) = sync(RunDirectory(run.dir), decide=decide)

    assert (outcome.result, outcome.points) == ("complete", 10)
    assert len(Restarting.reading_of(run.dir).points) == 10
