"""`verify`: what is missing, doubled or changed in a tracker does not go unnoticed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import runcast
from runcast.autodetect import decide
from runcast.history import comparison
from runcast.history.comparison import Verdict
from runcast.history.point_comparison import compare_points
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from runcast.journal.records import Metrics, encode_line
from runcast.testing import MemoryTracker
from runcast.values.points import Point
from tests.delivery.conftest import HERE

MakeRun = Callable[..., RunDirectory]
AddPlain = Callable[[RunDirectory], RunDirectory]
SetMood = Callable[[RunDirectory, str], None]


@pytest.fixture
def plain_run(make_run: MakeRun, add_plain: AddPlain) -> RunDirectory:
    """A run of 20 points that PlainTracker has."""
    directory = add_plain(make_run())
    sync(directory, decide=decide)
    return directory


def only(verdicts: list[Verdict]) -> Verdict:
    """Return the one verdict that there is."""
    assert len(verdicts) == 1
    return verdicts[0]


def lines_of(directory: RunDirectory) -> Path:
    """Return the file that PlainTracker keeps."""
    return directory.tracker("plain") / "lines.jsonl"


def test_a_tracker_that_has_everything_is_right(plain_run: RunDirectory) -> None:
    """Points, params and status agree, and there is nothing to say."""
    verdict = only(verify(plain_run))

    assert (verdict.logged, verdict.found, verdict.missing, verdict.extra) == (20, 20, 0, 0)
    assert (verdict.others["params"].logged, verdict.others["params"].found) == (1, 1)
    assert verdict.status == verdict.status_logged == "finished"
    assert verdict.problems() == []


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ((1796079025.8702464, 1796079025.8865476), (1796079025.87, 1796079025.887)),  # the first is 86.99… there
        ((10.0102, 10.016, 10.023), (10.01, 10.016, 10.023)),  # in hundredths: 1001, 1001, 1002, and there 1000, …
    ],
)
def test_equal_points_of_almost_the_same_time_are_told_apart(
    times: tuple[float, ...], kept: tuple[float, ...], tmp_path: Path
) -> None:
    """A service keeps milliseconds, so a time may cross the limit of a hundredth; the next equal point is not its."""
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(encode_line(Metrics(time=time, step=17, values={"epoch": 1})) for time in times))
    late = [kept[0] + 0.05, *kept[1:]]

    counts = [
        compare_points(
            journal,
            [Point("epoch", 1, 17, time) for time in moments],
            MemoryTracker(),
            str,
            cursor=journal.stat().st_size,
            up_to_cursor=False,
        )
        for moments in (kept, late)
    ]

    assert [(one.found, one.late, one.extra) for one in counts] == [(len(times), 0, 0), (len(times), 1, 0)]


def test_a_missing_and_a_doubled_point_are_found_in_dvclive(make_run: MakeRun) -> None:
    """A line that is gone and one that is there twice are named."""
    directory = make_run(["dvclive"])
    sync(directory, decide=decide)
    tables = directory.tracker("dvclive") / "dvclive" / "plots" / "metrics"
    loss, accuracy = tables / "loss.tsv", tables / "accuracy.tsv"
    loss.write_text("".join(line for line in loss.read_text().splitlines(keepends=True) if not line.startswith("4\t")))
    accuracy.write_text(accuracy.read_text() + "9\t0.9\n")

    verdict = only(verify(directory))

    assert (verdict.found, verdict.missing, verdict.extra, verdict.twice) == (19, 1, 1, 1)
    assert verdict.examples == ["loss = 0.30000000000000004 at step 4", "accuracy = 0.9 at step 9"]
    assert not verdict.is_right


def test_a_lost_and_a_copied_file_are_found_in_tensorboard(make_run: MakeRun) -> None:
    """Without its events a tracker lacks every point; with a copy of them it has each twice. What is lost is mended."""
    directory = make_run(["tensorboard"])
    sync(directory, decide=decide)
    folder = directory.tracker("tensorboard")
    (events,) = (file for file in folder.glob("events.out.tfevents.*.*.*") if file.stat().st_size > 500)
    copy = folder / events.name.replace("tfevents.", "tfevents.9")

    shutil.copy(events, copy)
    doubled = only(verify(directory))
    copy.unlink()
    whole = only(verify(directory))
    events.unlink()
    empty = only(verify(directory))
    (outcome,) = sync(directory, decide=decide, mend=True)
    mended = only(verify(directory))

    assert (outcome.result, outcome.delivered, outcome.points) == ("complete", 20, 20)
    assert (mended.found, mended.is_right) == (20, True)
    assert (doubled.found, doubled.missing, doubled.extra, doubled.twice) == (20, 0, 20, 20)
    assert (whole.found, whole.precision, whole.is_right) == (20, "float32", True)
    assert (empty.found, empty.missing) == (0, 20)


def test_a_changed_value_is_missing_and_too_many(plain_run: RunDirectory) -> None:
    """A point is its name, its step and its value."""
    lines = lines_of(plain_run)
    lines.write_text(lines.read_text().replace('["accuracy", 0.5, 5]', '["accuracy", 0.6, 5]'))

    verdict = only(verify(plain_run))

    assert (verdict.missing, verdict.extra, verdict.twice) == (1, 1, 0)


def test_a_changed_parameter_and_status_are_wrong(plain_run: RunDirectory) -> None:
    """What is compared besides points is named when it differs."""
    lines = lines_of(plain_run)
    lines.write_text(lines.read_text().replace('{"lr": 0.1}', '{"lr": 0.2}').replace('"finished"', '"running"'))

    verdict = only(verify(plain_run))

    assert verdict.others["params"].wrong == ["lr"]
    assert verdict.problems() == [
        "params: 0 of 1 are right, not lr",
        "its status is running, but the run is finished: runcast sync",
    ]


def test_what_was_not_delivered_waits(make_run: MakeRun, plain_run: RunDirectory, add_plain: AddPlain) -> None:
    """Points that are still in the journal are not missing; a tracker without any is told from one that lacks some."""
    untouched = only(verify(add_plain(make_run())))
    with runcast.init(dir=plain_run.path.parent, id=plain_run.path.name, resume="must", report_to="none") as run:
        run.log({"loss": 1.0, "accuracy": 1.0}, step=10)

    behind = only(verify(add_plain(plain_run)))

    assert (untouched.logged, untouched.waiting, untouched.missing) == (20, 20, 0)
    assert untouched.error is not None
    assert "runcast sync" in untouched.error
    assert (behind.found, behind.waiting, behind.missing) == (20, 2, 0)
    assert "wait to be delivered" in behind.problems()[0]


def test_what_was_refused_was_counted(make_run: MakeRun, add_plain: AddPlain, set_mood: SetMood) -> None:
    """A point that the service refuses for good is named with the reason, and is not missing; the verdict is not green."""
    directory = add_plain(make_run())
    set_mood(directory, "no negative numbers")
    sync(directory, decide=decide)

    verdict = only(verify(directory))

    assert (verdict.found, verdict.refused, verdict.missing) == (19, 1, 0)
    assert verdict.refused_for == {
        "point: negative numbers are not kept": 1,
        "artifacts: not supported by this tracker": 1,
        "summary: not supported by this tracker": 1,
    }
    assert verdict.problems() == ["it refused 1 point ('loss'): negative numbers are not kept."]


def test_a_tracker_that_cannot_be_read_says_why(
    plain_run: RunDirectory, set_mood: SetMood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that hangs, dies or raises costs its own verdict, with the reason."""
    monkeypatch.setenv("RUNCAST_CALL_TIMEOUT_S", "3")
    set_mood(plain_run, "slow")
    slow = only(verify(plain_run))
    monkeypatch.delenv("RUNCAST_CALL_TIMEOUT_S")
    set_mood(plain_run, "dies")
    dead = only(verify(plain_run))
    set_mood(plain_run, "well")
    lines_of(plain_run).unlink()
    gone = only(verify(plain_run))

    assert slow.error == "it could not be read: its reader has not responded for 3 s"
    assert dead.error == "it could not be read: its reader ended with exit status 3"
    assert gone.error is not None
    assert "No such file or directory" in gone.error
    assert (gone.logged, gone.where) == (20, str(lines_of(plain_run).parent))


def test_a_meter_is_compared_with_its_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a meter measured is in its own file; its totals are a summary, which a tracker may not have."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", HERE)
    import plain_trackers  # type: ignore[import-not-found]

    with runcast.init(report_to=[plain_trackers.PlainMeter, plain_trackers.PlainTracker], dir=tmp_path) as run:
        run.log({"loss": 1.0}, step=5)

    verdicts = {verdict.name: verdict for verdict in verify(RunDirectory(run.dir))}

    assert (verdicts["meter"].logged, verdicts["meter"].found, verdicts["meter"].is_right) == (1, 1, True)
    assert (verdicts["plain"].logged, verdicts["plain"].found, verdicts["plain"].is_right) == (1, 1, True)
    assert verdicts["plain"].refused_for == {"summary: not supported by this tracker": 1}


def test_a_meter_that_was_not_there_lacks_nothing(make_run: MakeRun) -> None:
    """Nothing was measured, so nothing is missing, and the verdict says so."""
    verdict = only(verify(make_run(["codecarbon"])))

    assert verdict.is_right
    assert verdict.note == "it measured nothing, as it was not there while the run trained"


def test_a_tracker_without_a_part_in_the_run_is_told(plain_run: RunDirectory) -> None:
    """Asking for one that the run was not cast to says how to cast it there."""
    verdict = only(verify(plain_run, ["wandb"]))

    assert verdict.error is not None
    assert "runcast replay" in verdict.error


def test_a_tracker_that_was_told_to_keep_nothing_lacks_nothing(plain_run: RunDirectory, set_mood: SetMood) -> None:
    """Where the user's options leave nothing to read, the verdict says so, and does not call it missing."""
    set_mood(plain_run, "no file")

    verdict = only(verify(plain_run))

    assert (verdict.missing, verdict.note, verdict.problems()) == (0, "it keeps no file, as asked", [])


@pytest.mark.parametrize(
    ("logged", "found", "is_same"),
    [
        ("007", 7, False),
        ("1e5", 100000.0, False),
        ("true", True, False),
        ("007", "007", True),
        (7, "7", True),
        (True, "True", True),
        (None, "None", True),
        ("NaN", float("nan"), True),
        ("-Infinity", float("-inf"), True),
        ("Infinity", float("-inf"), False),
    ],
)
def test_a_text_that_became_a_number_is_not_the_same(logged: object, found: object, is_same: bool) -> None:
    """A service may keep a number as its text; what was logged as a text is a text. The words of JSON are numbers."""
    assert comparison._same_text(logged, found) is is_same
