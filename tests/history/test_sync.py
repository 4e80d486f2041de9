"""`sync` and `replay`: later, elsewhere, again, and each point once."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import runcast
from runcast.autodetect import decide
from runcast.core.errors import OptionError, TrackerUnavailableError
from runcast.delivery.liveness import is_training
from runcast.history.delivering import Outcome
from runcast.history.overview import overview
from runcast.history.preparing import prepare
from runcast.history.replaying import replay
from runcast.history.sync import close, sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.journal.state import load_state

MakeRun = Callable[..., RunDirectory]
AddPlain = Callable[[RunDirectory], RunDirectory]
SetMood = Callable[[RunDirectory, str], None]

KILLED = """
import os, signal, runcast
run = runcast.init("shapes", id="shot", report_to=["tensorboard", "dvclive"], dir="runs", delivery="later")
for step in range(10):
    run.log({"loss": 1.0 / (step + 1)}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
HOLDER = """
import sys
from pathlib import Path
from runcast.delivery.lock import exclusive
with exclusive(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""


def results(outcomes: list[Outcome]) -> dict[str, tuple[str, int, int]]:
    """Say of each tracker what became of it, how many points were added and how many are there."""
    return {outcome.name: (outcome.result, outcome.delivered, outcome.points) for outcome in outcomes}


def found(directory: RunDirectory) -> dict[str, tuple[bool, int, str | None]]:
    """Say of each tracker, read back, whether it is right, how many points it has and its status."""
    return {verdict.name: (verdict.is_right, verdict.found, verdict.status) for verdict in verify(directory)}


def test_a_run_that_was_kept_for_later_is_delivered_once(make_run: MakeRun) -> None:
    """`delivery="later"` and two syncs leave every point in each tracker exactly once."""
    directory = make_run(["tensorboard", "dvclive"])

    first, second = sync(directory, decide=decide), sync(directory, decide=decide)

    assert results(first) == {"dvclive": ("complete", 20, 20), "tensorboard": ("complete", 20, 20)}
    assert results(second) == {"dvclive": ("complete", 0, 20), "tensorboard": ("complete", 0, 20)}
    assert found(directory) == {"dvclive": (True, 20, "finished"), "tensorboard": (True, 20, "finished")}


def test_a_run_cut_by_sigkill_ends_as_crashed_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the run had logged arrives, and no tracker shows it as running."""
    monkeypatch.chdir(tmp_path)
    assert subprocess.run([sys.executable, "-c", KILLED], stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    directory = RunDirectory(Path("runs/shot"))

    sync(directory, decide=decide)

    assert found(directory) == {"dvclive": (True, 10, "crashed"), "tensorboard": (True, 10, "crashed")}


def test_a_run_directory_that_was_moved_is_delivered(make_run: MakeRun, tmp_path: Path) -> None:
    """A run can be copied to where the network is, before and after a sync."""
    directory = make_run(["tensorboard"])

    elsewhere = RunDirectory(Path(shutil.move(directory.path, tmp_path / "elsewhere")))
    first = sync(elsewhere, decide=decide)
    again = RunDirectory(Path(shutil.move(elsewhere.path, tmp_path / "again")))
    second = sync(again, decide=decide)

    assert results(first) == {"tensorboard": ("complete", 20, 20)}
    assert results(second) == {"tensorboard": ("complete", 0, 20)}
    assert second[0].where == str(again.path / "trackers" / "tensorboard")
    assert found(again) == {"tensorboard": (True, 20, "finished")}


def test_a_run_that_trains_is_synced_and_stays_open(tmp_path: Path, add_plain: AddPlain) -> None:
    """A sync in the middle delivers what there is, the one after the end the rest."""
    run = runcast.init("shapes", report_to="none", dir=tmp_path)
    directory = add_plain(RunDirectory(run.dir))
    run.log({"loss": 8.0, "accuracy": 0.1}, step=0)

    middle, seen = sync(directory, decide=decide), found(directory)
    run.log({"loss": 7.0}, step=1)
    run.finish("failed")
    end = sync(directory, decide=decide)

    assert results(middle) == {"plain": ("open", 2, 2)}
    assert seen == {"plain": (True, 2, "running")}
    assert results(end) == {"plain": ("complete", 1, 3)}
    assert found(directory) == {"plain": (True, 3, "failed")}


@pytest.fixture
def far_run(make_run: MakeRun, add_plain: AddPlain) -> RunDirectory:
    """A run without an end that trains, or trained, on another machine."""
    directory = add_plain(make_run())
    file = directory.load()
    file.host = "elsewhere"
    directory.save(file)
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    directory.journal.write_bytes(b"".join(line for line in lines if b'"type":"finish"' not in line))
    return directory


def test_a_run_of_another_machine_stays_open(far_run: RunDirectory) -> None:
    """Nobody can see from here whether it still trains, so it is not closed as crashed."""
    outcomes = sync(far_run, decide=decide)

    assert results(outcomes) == {"plain": ("open", 20, 20)}
    assert found(far_run) == {"plain": (True, 20, "running")}


def test_a_run_of_another_machine_is_closed_on_request(far_run: RunDirectory) -> None:
    """Who knows that it is over says how it ended; every tracker then says so, and it cannot be said twice."""
    sync(far_run, decide=decide)

    close(far_run, "killed")
    sync(far_run, decide=decide)

    assert found(far_run) == {"plain": (True, 20, "killed")}
    with pytest.raises(OptionError, match="has already ended: it is killed"):
        close(far_run, "failed")


def test_a_run_that_trains_here_cannot_be_closed(tmp_path: Path) -> None:
    """Its own process writes its end."""
    run = runcast.init(report_to="none", dir=tmp_path)

    with pytest.raises(OptionError, match="still trains"):
        close(RunDirectory(run.dir), "crashed")

    run.finish()


def test_a_service_that_is_away_gets_it_next_time(make_run: MakeRun, add_plain: AddPlain, set_mood: SetMood) -> None:
    """Nothing is lost to an outage: the outcome says what waits and why, and the next sync delivers it."""
    directory = add_plain(make_run())
    set_mood(directory, "away")

    away = sync(directory, decide=decide)[0]
    set_mood(directory, "back")
    back = sync(directory, decide=decide)

    assert (away.result, away.waiting, away.is_right) == ("waiting", 20, False)
    assert away.note is not None
    assert "the service is away" in away.note
    assert results(back) == {"plain": ("complete", 20, 20)}


def test_a_service_that_wants_to_be_left_alone_is_waited_for_and_that_is_said(
    make_run: MakeRun,
    add_plain: AddPlain,
    set_mood: SetMood,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Who syncs by hand sees why nothing moves."""
    directory = add_plain(make_run())
    monkeypatch.delenv("RUNCAST_QUIET")
    set_mood(directory, "busy once")

    began = time.monotonic()
    outcomes = sync(directory, decide=decide)

    assert time.monotonic() - began >= 5.0
    assert results(outcomes) == {"plain": ("complete", 20, 20)}
    assert re.fullmatch(
        r"runcast: plain has asked for a pause: the next attempt is in [3-5] s\n", capsys.readouterr().err
    )


def test_a_service_that_refuses_is_asked_again(make_run: MakeRun, add_plain: AddPlain, set_mood: SetMood) -> None:
    """A wrong key is told as what it is; once it is mended, sync delivers."""
    directory = add_plain(make_run())
    set_mood(directory, "locked")

    refused = sync(directory, decide=decide)[0]
    set_mood(directory, "open")
    mended = sync(directory, decide=decide)

    assert (refused.result, refused.note) == ("refused", "the key is wrong")
    assert results(mended) == {"plain": ("complete", 20, 20)}


def test_what_a_service_refused_it_is_asked_to_take_again(
    make_run: MakeRun, add_plain: AddPlain, set_mood: SetMood
) -> None:
    """Points that were refused are not given up: when the reason is gone, the next sync delivers them, and only them."""
    directory = add_plain(make_run())
    set_mood(directory, "no negative numbers")

    refused = sync(directory, decide=decide)
    set_mood(directory, "open")
    mended = sync(directory, decide=decide)
    again = sync(directory, decide=decide)

    assert results(refused) == {"plain": ("complete", 19, 19)}
    assert results(mended) == {"plain": ("complete", 1, 20)}
    assert results(again) == {"plain": ("complete", 0, 20)}


def test_two_syncs_at_once_do_not_deliver_twice(make_run: MakeRun, add_plain: AddPlain) -> None:
    """A tracker that another process delivers to is left to it."""
    directory = add_plain(make_run())
    folder = directory.tracker("plain")
    folder.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"

        busy = sync(directory, decide=decide)

        holder.communicate()

    assert results(busy) == {"plain": ("busy", 0, 0)}
    assert results(sync(directory, decide=decide)) == {"plain": ("complete", 20, 20)}


def test_a_tracker_that_never_opened_the_run_is_decided_afresh(make_run: MakeRun) -> None:
    """Credentials that came, or went, after the training count."""
    directory = make_run(["tensorboard"])

    def gone(name: str, offline: bool | None) -> TrackerChoice:
        raise TrackerUnavailableError(f"{name} is not installed. Install it with: pip install 'runcast[{name}]'")

    outcome = sync(directory, decide=gone)[0]

    assert (outcome.result, outcome.waiting, outcome.is_right) == ("unavailable", 20, False)
    assert outcome.note == "tensorboard is not installed. Install it with: pip install 'runcast[tensorboard]'"


def test_a_run_that_was_made_offline_stays_so(make_run: MakeRun) -> None:
    """Credentials that happen to be there upload nothing that a script wanted kept local, unless the user says so."""
    directory = make_run(["tensorboard"])
    file = directory.load()
    file.trackers["tensorboard"] = TrackerChoice(tracker="", online=False, reason="offline=True")
    directory.save(file)
    asked = []

    def ask(name: str, offline: bool | None) -> TrackerChoice:
        asked.append(offline)
        raise TrackerUnavailableError("not now")

    sync(directory, decide=ask)
    sync(directory, decide=ask, offline=False)

    assert asked == [True, False]


def test_a_tracker_without_a_part_in_the_run_is_an_error(make_run: MakeRun) -> None:
    """Sync adds no tracker; the message says what does."""
    directory = make_run("none")

    with pytest.raises(OptionError, match=r"wandb has no part in this run.*runcast replay \S+ --to wandb"):
        sync(directory, ["wandb"], decide=decide)


def test_a_run_is_replayed_to_a_tracker_that_had_no_part_in_it(make_run: MakeRun) -> None:
    """The new tracker gets everything and takes part from then on; a second replay adds nothing."""
    directory = make_run("none")

    first = replay(directory, "tensorboard", decide=decide)
    second = replay(directory, "tensorboard", decide=decide)

    assert results([first, second]) == {"tensorboard": ("complete", 0, 20)}
    assert first.delivered == 20
    assert second.note == "it has this run already"
    assert list(directory.load().trackers) == ["tensorboard"]
    assert found(directory) == {"tensorboard": (True, 20, "finished")}


@pytest.mark.parametrize(
    ("name", "options", "online"),
    [
        ("mlflow", {"tracking_uri": "http://127.0.0.1:9"}, True),
        ("comet_ml", {"online": False}, False),
        ("comet_ml", {"api_key": "k" * 25}, False),  # it is not in run.json
    ],
)
def test_what_the_options_say_holds_when_the_run_is_delivered_later(
    name: str, options: dict[str, object], online: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address or a switch among them counts as it did for `init`, whatever the present environment says."""
    run = runcast.init("p", report_to=name, dir=tmp_path, delivery="later", setup={name: options})
    run.finish()
    file = RunDirectory(run.dir).load()
    if "online" in options:
        monkeypatch.setenv("COMET_API_KEY", "k" * 25)
    asked = {"decide": decide, "offline": None, "mend": False, "trust": False, "classes": None}

    prepare(RunDirectory(run.dir), file, [name], **asked)

    assert file.trackers[name].online is online


def test_a_local_run_is_sent_online_once_more(make_run: MakeRun, add_plain: AddPlain) -> None:
    """`again` begins anew when the tracker is online now, and refuses to make a second local copy."""
    directory = add_plain(make_run())
    sync(directory, decide=decide)
    local = TrackerChoice(tracker="plain_trackers:PlainTracker", online=False, reason="no credentials")
    online = TrackerChoice(tracker="plain_trackers:PlainTracker", online=True, reason="credentials from PLAIN_KEY")

    told = sync(directory, decide=lambda name, offline: online)[0]
    with pytest.raises(TrackerUnavailableError, match="has this run locally already"):
        replay(directory, "plain", decide=lambda name, offline: local, again=True)
    again = replay(directory, "plain", decide=lambda name, offline: online, again=True)

    assert told.note is not None
    assert "runcast replay" in told.note
    assert (again.result, again.delivered) == ("complete", 20)
    assert again.where == f"https://plain.example/{directory.load().id}"
    with pytest.raises(TrackerUnavailableError, match="has this run online already"):
        replay(directory, "plain", decide=lambda name, offline: online, again=True)


def test_a_meter_cannot_measure_later(make_run: MakeRun) -> None:
    """CodeCarbon has nothing to deliver after the fact: sync passes it by, replay says why not."""
    directory = make_run(["codecarbon"])

    outcome = sync(directory, decide=decide)[0]

    assert (outcome.result, outcome.is_right) == ("absent", True)
    with pytest.raises(TrackerUnavailableError, match="measures a running training"):
        replay(make_run("none"), "codecarbon", decide=decide)


CUT = """
import os, signal, sys, runcast
run = runcast.init("shapes", id="shot", report_to=["dvclive"], dir="runs", delivery="later")
run.log({"loss": 0.5}, step=0)
with open(run.dir / "journal.jsonl", "ab") as journal:
    journal.write(b'{"type":"metrics","time":1.0,"step":1,"values":{"lo')
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_record_that_was_cut_is_told_and_the_run_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The half of a record that a kill left is counted by `status` and `verify`; what was whole arrives, once."""
    monkeypatch.chdir(tmp_path)
    assert subprocess.run([sys.executable, "-c", CUT], stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    directory = RunDirectory(Path("runs/shot"))

    first, second = sync(directory, decide=decide), sync(directory, decide=decide)

    assert (results(first), results(second)) == ({"dvclive": ("complete", 1, 1)}, {"dvclive": ("complete", 0, 1)})
    assert load_state(directory.tracker("dvclive")).attempts == 1  # type: ignore[union-attr]
    assert overview(directory).damaged == 1
    assert [(verdict.damaged, verdict.is_right) for verdict in verify(directory)] == [(1, True)]


def test_a_tracker_of_an_earlier_session_is_remembered_and_left_alone(make_run: MakeRun) -> None:
    """A run resumed with other trackers still knows the first ones; they get nothing more unless asked for by name."""
    directory = make_run(["dvclive"])
    sync(directory, decide=decide)
    with runcast.init(
        id=directory.load().id, resume="must", dir=directory.path.parent, report_to=["tensorboard"], delivery="later"
    ) as run:
        run.log({"loss": 7.0}, step=10)

    by_itself = sync(directory, decide=decide)
    seen, listed = found(directory), {t.name: (t.left, t.waiting) for t in overview(directory).trackers}
    by_name = sync(directory, ["dvclive"], decide=decide)

    assert results(by_itself) == {"tensorboard": ("complete", 21, 21)}
    assert seen == {"dvclive": (True, 20, "finished"), "tensorboard": (True, 21, "finished")}
    assert listed == {"dvclive": (True, 0), "tensorboard": (False, 0)}
    assert results(by_name) == {"dvclive": ("complete", 1, 21)}


def test_a_clock_that_was_put_forward_does_not_end_a_run(tmp_path: Path, add_plain: AddPlain) -> None:
    """Whether a training lives is told by its process, not by a time that may have been corrected since."""
    run = runcast.init("shapes", report_to="none", dir=tmp_path)
    directory = add_plain(RunDirectory(run.dir))
    file = directory.load()
    file.started -= 3600
    directory.save(file)

    outcomes = sync(directory, decide=decide)

    run.finish()
    assert [outcome.result for outcome in outcomes] == ["open"]
    file.pid_began -= 1
    assert not is_training(file)
