"""One run for all that a trainer does, with the status that is true whatever happened."""

import contextlib
import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from runcast.core.errors import OptionError, UnknownTrackerError
from runcast.run.init import init
from runcast.run.lasting import LastingRun

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


def test_another_run_is_configured_as_the_first_one_was(tmp_path, monkeypatch):
    """What the user gave as config is the params of each run, not of the first alone."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    lasting = LastingRun("none", dir=tmp_path / "runs", config={"lr": 0.1})

    for _ in range(2):
        run = lasting.begin(config={"lr": 0.5, "depth": 2})
        lasting.end()
        lasting.forget()

        assert dict(run.config) == {"lr": 0.1, "depth": 2}


def test_what_is_broken_off_has_failed_and_what_comes_next_is_a_session_of_its_own(lasting):
    """As where the script has caught the exception that a training was left by."""
    run = lasting.begin()
    with contextlib.suppress(ValueError):
        raise ValueError("boom")

    lasting.break_off()
    lasting.begin().log({"loss": 1.0}, step=1)
    lasting.end()

    assert endings(run) == ["failed", "finished"]


def test_a_training_begun_again_is_judged_by_itself(lasting):
    """A retry inside the `except` block of what failed before is finished, and not what the first one was."""
    lasting.begin()
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        lasting.open()
        run = lasting.begin()
        lasting.end()

    assert endings(run) == ["finished"]


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
        f"from runcast.run.lasting import LastingRun\nlasting = LastingRun('none', id='r')\nlasting.begin()\n{ending}"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
    )

    last = json.loads((tmp_path / "runs" / "r" / "journal.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["status"]) == ("finish", status)


def test_a_wrong_name_is_told_at_once():
    """Not when the training begins."""
    with pytest.raises(UnknownTrackerError, match="Did you mean 'wandb'"):
        LastingRun("wanbd")


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
@pytest.mark.parametrize("is_open", [True, False])
def test_copies_share_one_run(lasting, tmp_path, duplicate, is_open):
    """Whether it was open or not when they were made; whoever comes after an end resumes it."""
    if is_open:
        lasting.begin()

    other = duplicate(lasting)
    assert other.begin() is lasting.begin()
    other.end()
    again = lasting.begin()
    lasting.end()

    assert endings(again) == ["finished", "finished"]
    assert len(list((tmp_path / "runs").iterdir())) == 1


SPAWN = """
import multiprocessing, sys
from runcast.run.init import init
from runcast.run.lasting import LastingRun

def work(lasting, key):
    lasting.begin().log({key: 1.0}, step=1)
    lasting.end()

def spawn(lasting, key):
    process = multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(lasting, key))
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    lasting = LastingRun("none", id="r", resume="never")
    spawn(lasting, "closed")
    lasting.begin().log({"mine": 1.0}, step=0)
    spawn(lasting, "open")
    lasting.run.log({"mine": 2.0}, step=2)
    lasting.end()
    spawn(lasting, "later")

    run = init(id="users", report_to="none")
    lasting = LastingRun(run=run)
    spawn(lasting, "open")
    run.finish()
    spawn(lasting, "later")
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_of_one_script_report_to_one_run(tmp_path, method):
    """One that is open is written to and left open; one that is not is opened and finished; a user's own is not reopened."""
    (tmp_path / "script.py").write_text(SPAWN)
    subprocess.run(
        [sys.executable, "script.py", method],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )

    def told(name):
        lines = (tmp_path / "runs" / name / "journal.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [next(iter(r["values"]), "") if r["type"] == "metrics" else r["type"] for r in records]

    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["r", "users"]
    session = ["start", "closed", "finish"]
    assert told("r") == [*session, "start", "mine", "open", "mine", "finish", "start", "later", "finish"]
    assert told("users") == ["start", "open", "finish"]


@pytest.mark.parametrize(("resume", "message"), [("never", "exists in"), ("must", "there is no run 'other'")])
def test_a_resume_that_cannot_be_is_told_at_once(lasting, tmp_path, resume, message):
    """Not when the training begins."""
    lasting.begin()
    lasting.end()

    with pytest.raises(OptionError, match=message):
        LastingRun("none", dir=tmp_path / "runs", id=lasting.id if resume == "never" else "other", resume=resume)


def test_options_may_be_iterators(tmp_path):
    """They are checked at once and used for each session."""
    lasting = LastingRun("none", dir=tmp_path / "runs", tags=map(str, [1, 2]), snapshot=iter(["git"]))
    run = lasting.begin()
    lasting.end()

    assert run._file.tags == ["1", "2"]
    assert lasting._options["snapshot"] == ("git",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("tag", "'tags'"), ("save_dir", "'dir'"), ("run_name", "'name'"), ("experiment_name", "'project'")],
)
def test_an_unknown_option_is_told_at_once(name, hint):
    """With the one that was meant, also where another library calls it otherwise."""
    with pytest.raises(OptionError, match=rf"There is no option '{name}'\. Did you mean {hint}\?"):
        LastingRun("none", **{name: "x"})


@pytest.mark.parametrize(
    "wrong", [{"delivery": "pigeon"}, {"id": "a/b"}, {"setup": {"wandbb": {}}}, {"strict": "maybe"}]
)
def test_a_wrong_value_is_told_at_once(wrong):
    """Everything that `init` would refuse, but for its own values."""
    with pytest.raises(OptionError):
        LastingRun("none", **wrong)


def test_the_run_of_the_script_is_joined(tmp_path, monkeypatch):
    """As the trackers' own callbacks do; the script finishes it, and what comes behind is a run by itself."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    monkeypatch.setenv("RUNCAST_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("RUNCAST_REPORT_TO", "none")
    early = LastingRun()
    with init() as run:
        late = LastingRun(name="of a trainer", project="of a trainer")
        assert late.dir == run.dir
        for lasting in (early, late):
            assert lasting.begin() is run
            lasting.end()
        assert run.status is None
        other = LastingRun().open()
        assert other is run

    behind = late.begin()
    late.end()
    assert behind.id != run.id
    assert endings(behind) == endings(run) == ["finished"]


@pytest.mark.parametrize(
    "options", [{"tags": ["a"]}, {"id": "mine"}, {"report_to": "tensorboard"}, {"report_to": "none"}]
)
def test_another_run_than_the_scripts_can_be_asked_for(options, tmp_path, monkeypatch):
    """With any option of a run but those that a trainer has by itself, and by a tracker that the script's run lacks."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    monkeypatch.setenv("RUNCAST_DIR", str(tmp_path / "runs"))
    with init(report_to="none") as run:
        lasting = LastingRun(delivery=None, **options)
        own = lasting.begin()
        lasting.end()
        assert own is not run
        assert run.status is None


def test_trackers_that_the_scripts_run_has_are_no_reason_for_another(tmp_path, monkeypatch):
    """Nor is a run of another trainer one to join; a search's next trial has its own."""
    pytest.importorskip("dvclive")
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    monkeypatch.setenv("RUNCAST_DIR", str(tmp_path / "runs"))
    with init(report_to=["tensorboard", "dvclive"], delivery="later") as run:
        lasting = LastingRun(["tensorboard"])
        assert lasting.open() is run
        lasting.forget(delivery="later")
        trial = lasting.open()
        assert trial is not run
        assert LastingRun("tensorboard").open() is run
    quiet = LastingRun("none").open()
    assert quiet is not trial
    for left in (trial, quiet):
        left.finish()
    assert run.status == "finished"
