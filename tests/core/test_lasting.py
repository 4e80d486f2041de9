"""One run for all that a trainer does, with the status that is true whatever happened."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from runcast.core.errors import UnknownTrackerError
from runcast.core.init import init
from runcast.core.lasting import LastingRun

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lasting(tmp_path, monkeypatch):
    """Return one that reports to the journal alone."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    return LastingRun("none", dir=str(tmp_path / "runs"), tags=["a"])


def endings(run):
    """List the statuses with which the sessions of a run ended."""
    records = [json.loads(line) for line in (run.dir / "journal.jsonl").read_text().splitlines()]
    return [record["status"] for record in records if record["type"] == "finish"]


def train(lasting, error):
    """Begin, fail, and let the error pass `end`, as a framework does in a `finally`."""
    try:
        lasting.begin()
        raise error
    finally:
        lasting.end()


def test_what_comes_after_the_end_goes_on_with_the_same_run(lasting, tmp_path):
    """Opened again as often as needed, finished each time, never another run."""
    first = lasting.begin()
    lasting.end()
    again = lasting.begin()
    lasting.end()

    assert first.id == again.id
    assert endings(again) == ["finished", "finished"]
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_an_error_that_passes_is_the_status_but_not_one_from_before(lasting):
    """A training inside an `except` block is no failure; one that an exception or an interrupt ends is."""
    try:
        raise LookupError("before")
    except LookupError:
        run = lasting.begin()
        lasting.end()
    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            train(lasting, error)

    assert endings(run) == ["finished", "failed", "killed"]


def test_a_trainer_may_know_that_it_failed(lasting):
    """Also when no exception is passing; an interrupt stays an interrupt."""
    run = lasting.begin()
    lasting.end(failed=True)
    try:
        lasting.begin()
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        lasting.end(failed=True)

    assert endings(run) == ["failed", "killed"]


def test_inside_a_with_everything_is_one_session(lasting):
    """The run stays open over several ends, and gets the status of the block."""
    with contextlib.suppress(ValueError), lasting:
        run = lasting.begin()
        lasting.end()
        again = lasting.begin()
        lasting.end()
        status_inside = run.status
        raise ValueError("boom")

    assert again is run
    assert (status_inside, endings(run)) == (None, ["failed"])


def test_a_run_that_was_open_stays_open(tmp_path):
    """Whoever opened it finishes it, and nothing here makes another."""
    run = init(report_to="none", dir=str(tmp_path / "runs"))
    lasting = LastingRun(run=run)

    with lasting:
        lasting.begin()
        lasting.end()
    lasting.forget()

    assert lasting.begin() is run
    assert run.status is None
    run.finish()


def test_what_is_forgotten_makes_way_for_another_run(lasting):
    """As for the trials of a search."""
    first = lasting.begin()
    lasting.end()
    lasting.forget()

    assert lasting.begin().id != first.id
    lasting.end()


def test_a_given_id_is_gone_on_with(tmp_path):
    """The second script with the same id adds to the run of the first."""
    for _ in range(2):
        lasting = LastingRun("none", dir=str(tmp_path / "runs"), id="mine")
        run = lasting.begin()
        lasting.end()

    assert endings(run) == ["finished", "finished"]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("raise KeyboardInterrupt", "killed"),
        ("raise ValueError", "failed"),
        ("", "failed"),
        ("lasting.end()", "finished"),
    ],
)
def test_a_training_that_never_ended_has_failed_when_the_script_ends(tmp_path, ending, status):
    """Also when the script caught the exception and ended well."""
    code = (
        f"from runcast.core.lasting import LastingRun\nlasting = LastingRun('none', id='r')\nlasting.begin()\n{ending}"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )

    last = json.loads((tmp_path / "runs" / "r" / "journal.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["status"]) == ("finish", status)


def test_a_wrong_name_is_told_at_once():
    """Not when the training begins."""
    with pytest.raises(UnknownTrackerError, match="Did you mean 'wandb'"):
        LastingRun("wanbd")


def test_in_another_process_it_opens_the_run_for_itself(lasting):
    """As the workers of a distributed training do, which are given a copy."""
    lasting.begin()

    copy = pickle.loads(pickle.dumps(lasting))

    assert (copy.run, copy.id) == (None, lasting.id)
    lasting.end()
