"""Sessions that follow each other faster than their deliveries: each record arrives once, and `finish` knows it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state
from runcast.testing import MemoryTracker
from tests.delivery.odd_trackers import Picky, Refusing
from tests.delivery.replaced_trackers import Choosy, Replaced
from tests.delivery.slow_closing import SlowlyClosing
from tests.waiting import wait_for

Begin = Callable[..., runcast.Run]
CARRIERS = pytest.mark.parametrize("delivery", ["process", "thread"])


@pytest.fixture
def start(tmp_path: Path) -> Begin:
    """Start a session of one run in the test's folder."""

    def begin(report_to: Any = SlowlyClosing, **arguments: Any) -> runcast.Run:
        options = {"dir": tmp_path / "runs", "id": "run", "resume": "allow", "report_to": report_to, **arguments}
        return runcast.init(**options)

    return begin


def points_of(run_directory: Path, tracker: type[MemoryTracker] = SlowlyClosing) -> list[tuple[Any, ...]]:
    """List the points that a tracker has."""
    return sorted(point[:3] for point in tracker.reading_of(run_directory).points)


def log(run: runcast.Run, *steps: int) -> None:
    """Log a point at each step."""
    for step in steps:
        run.log({"loss": step / 4}, step=step)


def expected(number: int) -> list[tuple[Any, ...]]:
    """List the points of the steps before *number*."""
    return [("loss", step / 4, step) for step in range(number)]


@CARRIERS
def test_a_session_that_begins_while_the_last_one_is_closed_is_delivered(start: Begin, delivery: str) -> None:
    """Its delivery waits for the other one, and `finish` is true when everything is there."""
    first = start(delivery=delivery)
    log(first, *range(5))
    assert first.finish(timeout_s=0) is False
    wait_for((first.dir / "closing").exists)
    second = start(delivery=delivery)
    log(second, *range(5, 500))
    assert second.flush(0.3) is False

    (first.dir / "close").touch()

    assert second.finish("failed", timeout_s=60) is True
    assert points_of(second.dir) == expected(500)
    assert SlowlyClosing.reading_of(second.dir).status == "failed"
    assert (load_state(second.dir / "trackers" / "slowly") or 0).session == 2  # type: ignore[union-attr]


@CARRIERS
def test_the_end_of_a_session_before_is_not_that_of_this_one(start: Begin, delivery: str) -> None:
    """While nobody has delivered the new session, `finish` says so, and names the command that does."""
    first = start(delivery=delivery)
    log(first, *range(5))
    first.finish(timeout_s=0)
    wait_for((first.dir / "closing").exists)
    second = start(delivery=delivery)
    log(second, 5)

    assert second.finish(timeout_s=0.3) is False

    (first.dir / "close").touch()
    wait_for(lambda: points_of(second.dir) == expected(6))
    wait_for(lambda: SlowlyClosing.reading_of(second.dir).status == "finished")


@CARRIERS
def test_many_sessions_in_a_row_are_all_delivered(start: Begin, delivery: str) -> None:
    """However short they are, and though none waits for its end but the last."""
    (Path(start(delivery="later").dir) / "close").touch()
    for session in range(5):
        run = start(delivery=delivery)
        log(run, *range(100 * session, 100 * session + 100))
        run.finish(timeout_s=0)
    last = start(delivery=delivery)

    assert last.finish(timeout_s=600) is True
    assert points_of(last.dir) == expected(500)


def test_a_session_that_is_delivered_later_stays_for_sync(start: Begin) -> None:
    """The delivery of the session before closes its own, and leaves the rest to `sync`."""
    first = start()
    log(first, *range(5))
    first.finish("failed", timeout_s=0)
    wait_for((first.dir / "closing").exists)
    later = start(delivery="later")
    log(later, 5)
    assert later.finish() is False
    (first.dir / "close").touch()
    wait_for(lambda: load_state(first.dir / "trackers" / "slowly").phase == "finished")  # type: ignore[union-attr]

    closed = SlowlyClosing.reading_of(first.dir)
    (outcome,) = sync(RunDirectory(first.dir), decide=decide, wait=True)

    assert (len(closed.points), closed.status) == (5, "failed")
    assert (outcome.result, outcome.delivered, outcome.points) == ("complete", 1, 6)
    assert points_of(first.dir) == expected(6)


def test_a_tracker_that_joins_late_gets_all_sessions(start: Begin) -> None:
    """One that has a part from the second session on, beside one that is still closed."""
    first = start()
    log(first, *range(5))
    first.finish(timeout_s=0)
    wait_for((first.dir / "closing").exists)
    second = start([SlowlyClosing, MemoryTracker])
    log(second, 5)
    (first.dir / "close").touch()

    assert second.finish(timeout_s=600) is True
    assert points_of(first.dir) == points_of(first.dir, MemoryTracker) == expected(6)


@CARRIERS
def test_a_session_is_opened_beside_one_that_nobody_has_ended(start: Begin, delivery: str) -> None:
    """As when a cell of a notebook is run again: the new session has the tracker, and the run one end."""
    (Path(start(delivery="later").dir) / "close").touch()
    forgotten = start(delivery=delivery)
    log(forgotten, *range(5))
    assert forgotten.flush(600)
    second = start(delivery=delivery)
    log(second, 5)

    assert second.finish("killed", timeout_s=60) is True
    assert points_of(second.dir) == expected(6)
    assert SlowlyClosing.reading_of(second.dir).status == "killed"
    forgotten.finish(timeout_s=0)


SESSION = """
import os, signal, sys, runcast
from tests.delivery.odd_trackers import Picky, Refusing
from tests.delivery.replaced_trackers import Choosy, Replaced
from tests.delivery.slow_closing import SlowlyClosing
run = runcast.init(dir=sys.argv[1], id="run", resume="allow", report_to=SlowlyClosing)
for step in range(int(sys.argv[2]), int(sys.argv[3])):
    run.log({"loss": step / 4}, step=step)
if sys.argv[4] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
print(run.finish(sys.argv[4], timeout_s=60))
"""


def train(folder: Path, first: int, last: int, ending: str) -> "subprocess.Popen[str]":
    """Train one session in a process of its own."""
    command = [sys.executable, "-c", SESSION, str(folder), str(first), str(last), ending]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def killed(process: "subprocess.Popen[str]") -> bool:
    """Wait for a process; return whether it was killed."""
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_sessions_in_between_lose_nothing(tmp_path: Path) -> None:
    """A training that is killed is followed by another one while its own delivery still closes it as crashed."""
    folder = tmp_path / "run"
    assert killed(train(tmp_path, 0, 100, "kill"))
    wait_for((folder / "closing").exists)
    assert killed(train(tmp_path, 100, 200, "kill"))
    third = train(tmp_path, 200, 500, "failed")
    wait_for(lambda: b'"session":3' in (folder / "journal.jsonl").read_bytes())
    (folder / "close").touch()

    assert third.communicate()[0] == "True\n"
    assert points_of(folder) == expected(500)
    assert SlowlyClosing.reading_of(folder).status == "failed"


def test_a_delivery_that_is_killed_while_another_waits_loses_nothing(start: Begin) -> None:
    """The next session's delivery takes over, and asks the tracker."""
    first = start()
    log(first, *range(5))
    first.finish(timeout_s=0)
    wait_for((first.dir / "closing").exists)
    second = start()
    log(second, 5)
    os.kill(load_state(first.dir / "trackers" / "slowly").pid, signal.SIGKILL)  # type: ignore[union-attr]
    (first.dir / "close").touch()

    assert second.finish(timeout_s=600) is True
    assert points_of(second.dir) == expected(6)


def test_a_sync_beside_two_sessions_delivers_nothing_twice(start: Begin) -> None:
    """It finds the lock taken, waits, and leaves to each session its own end."""
    first = start()
    log(first, *range(5))
    first.finish(timeout_s=0)
    wait_for((first.dir / "closing").exists)
    command = [sys.executable, "-m", "runcast", "sync", str(first.dir), "--json"]
    beside = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    second = start()
    log(second, *range(5, 50))
    (first.dir / "close").touch()

    assert beside.communicate()[1] is None
    assert second.finish("failed", timeout_s=60) is True
    assert points_of(second.dir) == expected(50)
    assert SlowlyClosing.reading_of(second.dir).status == "failed"
    assert RunDirectory(second.dir).load().session == 2


def test_what_a_tracker_refuses_is_not_delivered(start: Begin) -> None:
    """`finish` is true only if everything has arrived."""
    refused = start([Refusing, MemoryTracker], id="refused")
    log(refused, 0)
    assert refused.flush(600) is False
    assert refused.finish(timeout_s=600) is False
    assert points_of(refused.dir, MemoryTracker) == expected(1)

    picky = start(Picky, id="picky")
    picky.log({"loss": -1.0}, step=0)
    assert picky.finish(timeout_s=600) is False

    nobody = start("none", id="nobody")
    assert (nobody.flush(), nobody.finish(), nobody.finish()) == (True, True, True)


@pytest.mark.parametrize("tracker", [Replaced, Choosy])
def test_a_run_that_was_replaced_gets_everything_whatever_its_id_is_called(
    start: Begin, tracker: type[MemoryTracker]
) -> None:
    """A third party's tracker has names of its own for its ids: a changed one means that the run may be empty."""
    first = start(tracker)
    log(first, *range(5))
    assert first.finish(timeout_s=600) is True
    (first.dir / "trackers" / tracker.name / "gone").touch()
    second = start(tracker)
    log(second, 5)

    assert second.finish(timeout_s=600) is True
    assert points_of(second.dir, tracker) == expected(6)


def test_an_interrupt_while_a_script_ends_leaves_the_rest_to_the_courier(tmp_path: Path) -> None:
    """Ctrl-C then ends the waiting, in a sentence and without a traceback; everything arrives."""
    code = (
        "import sys, runcast; from tests.delivery.slow_closing import SlowlyClosing\n"
        "run = runcast.init(dir=sys.argv[1], id='run', report_to=SlowlyClosing)\n"
        "run.log({'loss': 0.0}, step=0)\n"
    )
    command, folder = [sys.executable, "-c", code, str(tmp_path)], tmp_path / "run"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for((folder / "closing").exists)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    (folder / "close").touch()

    assert "Traceback" not in said
    assert "follows in the background" in said
    assert process.returncode == 0
    wait_for(lambda: (state := load_state(folder / "trackers" / "slowly")) is not None and state.phase == "finished")
    assert points_of(folder) == expected(1)
    assert SlowlyClosing.reading_of(folder).status == "finished"
