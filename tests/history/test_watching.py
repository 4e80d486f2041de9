"""`sync --watch`: runs are delivered while another process writes them, by one watcher per folder, each point once."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runcast
from runcast.autodetect import decide
from runcast.core.errors import OptionError
from runcast.history import watching
from runcast.history.watching import Watcher
from runcast.journal.layout import RunDirectory
from runcast.journal.locks import FileLock
from runcast.journal.state import DeliveryState, load_state
from runcast.testing import MemoryTracker
from tests.waiting import wait_for

POINTS = [("loss", step / 4, step) for step in range(40)]


def state_of(folder: Path) -> DeliveryState:
    """Read what the delivery last said."""
    return load_state(RunDirectory(folder).tracker("memory")) or DeliveryState()


def points_of(folder: Path) -> list[tuple[object, ...]]:
    """List the points that the tracker has."""
    return [point[:3] for point in MemoryTracker.reading_of(folder).points]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.1)


def watch(root: Path, stop: threading.Event, **options: bool) -> threading.Thread:
    """Watch a folder in a thread, until told to stop."""
    watcher = Watcher(root, decide=decide, tell=lambda run, left: None, **options)
    thread = threading.Thread(target=watcher.watch, kwargs={"until": stop.is_set})
    thread.start()
    return thread


def test_a_run_that_begins_is_delivered_while_it_is_written(tmp_path: Path) -> None:
    """Its points are there before it ends; its end, and an old run with `every`, too; other old runs are left alone."""
    with runcast.init(dir=tmp_path, id="old", report_to=MemoryTracker, delivery="later") as old:
        old.log({"loss": 0.5}, step=0)
    stop = threading.Event()
    thread = watch(tmp_path, stop)
    try:
        run = runcast.init(dir=tmp_path, id="new", report_to=MemoryTracker, delivery="later")
        run.log({"loss": 0.0}, step=0)
        wait_for(lambda: state_of(run.dir).points == 1)
        for key, value, step in POINTS[1:]:
            run.log({key: value}, step=step)
        wait_for(lambda: state_of(run.dir).points == 40)
        run.finish("failed")
        wait_for(lambda: state_of(run.dir).phase == "finished")
    finally:
        stop.set()
        thread.join()

    assert points_of(run.dir) == POINTS
    assert MemoryTracker.reading_of(run.dir).status == "failed"
    assert load_state(RunDirectory(old.dir).tracker("memory")) is None

    stop = threading.Event()
    thread = watch(tmp_path, stop, every=True)
    wait_for(lambda: state_of(old.dir).phase == "finished")
    stop.set()
    thread.join()
    assert points_of(old.dir) == [("loss", 0.5, 0)]


def test_more_runs_than_couriers_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three trainings of hours, and one courier: all are delivered while they last, each point once."""
    monkeypatch.setattr(watching, "AT_ONCE", 1)
    monkeypatch.setattr(watching, "TURN_S", 0.2)
    runs = [
        runcast.init(dir=tmp_path, id=f"run-{number}", report_to=MemoryTracker, delivery="later") for number in range(3)
    ]
    stop = threading.Event()
    thread = watch(tmp_path, stop)
    try:
        for before in (0, 20):
            for run in runs:
                for key, value, step in POINTS[before : before + 20]:
                    run.log({key: value}, step=step)
            wait_for(lambda now=before + 20: all(state_of(run.dir).points == now for run in runs))
    finally:
        stop.set()
        thread.join()
        for run in runs:
            run.finish()

    assert all(points_of(run.dir) == POINTS for run in runs)


def test_a_folder_has_one_watcher(tmp_path: Path) -> None:
    """Another one is refused in a sentence; a folder that does not exist likewise."""
    lock = FileLock(tmp_path / ".watch")
    assert lock.take()
    try:
        with pytest.raises(OptionError, match="is being watched already"):
            Watcher(tmp_path, decide=decide, tell=lambda run, left: None).watch()
        with pytest.raises(OptionError, match=r"cannot be watched \(No such file"):
            Watcher(tmp_path / "missing", decide=decide, tell=lambda run, left: None).watch()
    finally:
        lock.release()


@pytest.mark.slow
def test_a_watcher_that_is_killed_doubles_nothing(tmp_path: Path) -> None:
    """SIGKILL at three random moments, each time with another one in its place: each point arrives once."""
    chance = random.Random("watcher")
    command = [sys.executable, "-m", "runcast", "sync", "--watch", "--dir", str(tmp_path)]
    run = runcast.init(dir=tmp_path, id="run", report_to=MemoryTracker, delivery="later")
    left = list(POINTS)
    for number in range(4):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as watcher:
            attempts = state_of(run.dir).attempts
            for key, value, step in left[:10]:
                run.log({key: value}, step=step)
            del left[:10]
            wait_for(lambda before=attempts: state_of(run.dir).attempts > before)
            if number < 3:
                threading.Event().wait(chance.uniform(0, 0.3))
            else:
                run.finish()
                wait_for(lambda: state_of(run.dir).phase == "finished")
            os.kill(watcher.pid, signal.SIGKILL)

    assert points_of(run.dir) == POINTS
    assert MemoryTracker.reading_of(run.dir).status == "finished"
