"""The loop carries every record to its tracker, exactly once, whatever the tracker does and whenever it dies."""

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import runcast
from runcast.core.errors import FinalError, GoneError, RetryableError
from runcast.delivery import attempts, loop
from runcast.delivery.loop import Delivery
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.journal.reader import JournalReader
from runcast.journal.records import Media, Metrics, Summary, encode, meter_of
from runcast.journal.state import DeliveryState, load_state, save_state
from runcast.testing import MemoryTracker
from runcast.values.names import NameRule
from runcast.values.points import Point
from tests.delivery.odd_trackers import Death, Deletable, HalfThenAway, Moody, Mortal, Picky


class Clock:
    """Goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now, self.waits = 1000.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        self.now += timeout_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let no test wait for real time."""
    clock = Clock()
    monkeypatch.setattr(attempts, "time", clock)
    monkeypatch.setattr(attempts, "backoff_s", lambda attempt, wished_s=None: wished_s or 2.0**attempt)
    return clock


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., runcast.Run]:
    """Start a run whose delivery is up to the test."""

    def begin(**arguments: Any) -> runcast.Run:
        return runcast.init(**{"dir": tmp_path / "runs", "id": "run", "report_to": None, **arguments})

    return begin


@pytest.fixture
def deliver(tmp_path: Path, clock: Clock) -> Callable[..., DeliveryState]:
    """Deliver the run with a tracker; the training is over unless `alive` says otherwise."""

    def carry(tracker: Tracker, alive: Callable[[], bool] = lambda: False, **arguments: Any) -> DeliveryState:
        directory = RunDirectory(tmp_path / "runs" / "run")
        choice = TrackerChoice(tracker="", online=False, reason="test")
        tracked = tracked_run(directory, directory.load(), tracker.name, choice, {})
        arguments = {"wait": clock.wait, **arguments}
        return Delivery(directory, tracker.name, tracker, tracked, alive=alive, **arguments).run()

    return carry


Begin = Callable[..., runcast.Run]
Deliver = Callable[..., DeliveryState]


def points_of(run: runcast.Run, tracker: type[MemoryTracker]) -> list[tuple[str, float, int]]:
    """List the points that a tracker has."""
    return [point[:3] for point in tracker.reading_of(run.dir).points]  # type: ignore[misc]


def summary_of(run: runcast.Run) -> dict[str, Any] | None:
    """Return the summary that a tracker has."""
    return MemoryTracker.reading_of(run.dir).summary


# What arrives


def test_everything_that_was_logged_arrives(start: Begin, deliver: Deliver, tmp_path: Path) -> None:
    """Points, params, summary, tags, media, artifacts and the status reach the tracker."""
    with start(name="lucky", notes="n", group="g", tags=["t"]) as run:
        run.log_params({"lr": 0.5})
        run.log({"loss": 0.5, "note": runcast.Text("x")}, step=3)
        run.log_summary({"best": 0.25})
        run.log_artifact(__file__)

    state = deliver(MemoryTracker())

    reading = MemoryTracker.reading_of(run.dir)
    assert [point[:3] for point in reading.points] == [("loss", 0.5, 3)]
    assert (reading.params, reading.summary, reading.tags) == ({"lr": 0.5}, {"best": 0.25}, {"t"})
    assert (reading.media, reading.artifacts) == ([("note", 3)], {"test_loop.py"})
    assert (reading.name, reading.notes, reading.group, reading.status) == ("lucky", "n", "g", "finished")
    assert (state.phase, state.points, state.refused, state.clean, state.status) == (
        "finished",
        1,
        {},
        True,
        "finished",
    )
    assert state.url == str(run.dir / "trackers" / "memory" / "memory.jsonl")


def test_points_come_in_batches_and_in_order(start: Begin, deliver: Deliver) -> None:
    """Twelve thousand points are three calls; another kind of record between them keeps its place."""
    with start() as run:
        for step in range(12_000):
            run.log({"loss": 0.5}, step=step)
            if step == 11_000:
                run.log_params({"late": 1})
    tracker = Moody()

    deliver(tracker)

    assert tracker.calls == [
        ("setup", False),
        ("log_metrics", 5000),
        ("log_metrics", 5000),
        ("log_metrics", 1001),
        ("log_params", {"late": 1}),
        ("log_metrics", 999),
        ("finish", ("finished", None)),
    ]


def test_a_finished_delivery_has_nothing_to_do(start: Begin, deliver: Deliver) -> None:
    """A second delivery of a run that has arrived does not even open it."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    deliver(Moody())
    tracker = Moody()

    state = deliver(tracker)

    assert tracker.calls == []
    assert state.phase == "finished"


def test_a_later_session_is_delivered_into_the_same_run(start: Begin, deliver: Deliver) -> None:
    """After a resume only the new records are sent, to a tracker that is told so, and the last status holds."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    deliver(Moody())
    run = start(resume="allow")
    run.log({"loss": 0.25}, step=1)
    run.finish("failed", error="ValueError: boom")
    tracker = Moody()

    state = deliver(tracker)

    assert tracker.calls[:2] == [("setup", True), ("log_metrics", 1)]
    assert tracker.calls[-1] == ("finish", ("failed", "ValueError: boom"))
    assert (state.points, state.status) == (2, "failed")


def test_a_training_that_disappears_is_a_crash(start: Begin, deliver: Deliver) -> None:
    """A journal without an end, whose training process is gone, ends as crashed, with every point."""
    run = start()
    run.log({"loss": 0.5}, step=0)

    state = deliver(MemoryTracker())

    assert (state.phase, state.status) == ("finished", "crashed")
    assert MemoryTracker.reading_of(run.dir).status == "crashed"
    assert points_of(run, MemoryTracker) == [("loss", 0.5, 0)]


def test_a_tracker_follows_while_the_training_lives(start: Begin, deliver: Deliver, clock: Clock) -> None:
    """New records are delivered when they come, each once; between them the delivery waits."""
    run = start()
    tracker = Moody()
    steps = iter(range(3))

    def alive() -> bool:
        step = next(steps, None)
        if step is None:
            run.finish("killed")
        else:
            run.log({"loss": 0.5}, step=step)
        return True

    state = deliver(tracker, alive)

    assert points_of(run, Moody) == [("loss", 0.5, 0), ("loss", 0.5, 1), ("loss", 0.5, 2)]
    assert state.status == "killed"


def test_delivering_what_there_is_leaves_an_open_run_open(start: Begin, deliver: Deliver) -> None:
    """Without following, a run whose training still lives is left for later."""
    run = start()
    run.log({"loss": 0.5}, step=0)

    state = deliver(MemoryTracker(), lambda: True, follow=False)

    assert state.phase == "suspended"
    assert points_of(run, MemoryTracker) == [("loss", 0.5, 0)]
    assert MemoryTracker.reading_of(run.dir).status == "running"


class Narrow(MemoryTracker):
    name = "narrow"
    supports = frozenset(("metrics", "params"))
    names = NameRule(forbidden=r"[^a-z/]", max_length=20)
    param_names = NameRule(forbidden=r"[^a-z]")
    max_param_chars = 10

    def refuse(self, *arguments: Any) -> None:
        raise AssertionError("this kind is not supported")

    log_summary = log_media = log_artifact = add_tags = refuse  # type: ignore[assignment]


def test_a_tracker_is_only_given_what_it_can_hold(start: Begin, deliver: Deliver) -> None:
    """Kinds that it does not support are not sent; names are mapped by its rules, long texts cut by its limit."""
    with start(tags=["t"]) as run:
        run.log({"train/loss": 0.5, "train/LOSS": 0.25, "x" * 30: 1, "note": runcast.Text("x")}, step=0)
        run.log_params({"Text": "y" * 50, "number": 12345678901234})
        run.log_summary({"best": 1})
        run.log_artifact(__file__)

    state = deliver(Narrow())

    reading = Narrow.reading_of(run.dir)
    assert reading.points[0].key == "train/loss"
    assert all(len(point.key) <= 20 for point in reading.points)
    assert len({point.key for point in reading.points}) == 3
    assert reading.params == {"_x54_ext": "yyyyyyyyy…", "number": 12345678901234}
    assert set(state.renamed) == {"train/LOSS", "x" * 30, "Text"}
    assert state.refused == {
        "tags: not supported by this tracker": 1,
        "media: not supported by this tracker": 1,
        "summary: not supported by this tracker": 1,
        "artifacts: not supported by this tracker": 1,
        "status: not supported by this tracker": 1,
    }


# What fails


def test_a_service_that_is_away_for_a_while_costs_nothing(start: Begin, deliver: Deliver, clock: Clock) -> None:
    """A call that may succeed later is made again after a pause, and each point arrives once."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    tracker = Moody(
        setup=[RetryableError("away"), RetryableError("away"), None],
        log_metrics=[RetryableError("busy", retry_after_s=7.0)],
        finish=[RetryableError("away")],
    )

    state = deliver(tracker)

    assert [name for name, _ in tracker.calls if name != "read"] == ["setup"] * 3 + ["log_metrics"] * 2 + ["finish"] * 2
    assert points_of(run, Moody) == [("loss", 0.5, 0)]
    assert (state.phase, state.error, state.refused) == ("finished", None, {})
    assert sum(clock.waits) >= 7.0


def test_what_arrived_before_a_call_failed_is_not_sent_again(start: Begin, deliver: Deliver) -> None:
    """After a batch of which a part arrived, the rest is sent, found by asking the tracker."""
    with start() as run:
        for step in range(9):
            run.log({"loss": step / 2}, step=step)

    deliver(HalfThenAway())

    assert sorted(points_of(run, HalfThenAway)) == [("loss", step / 2, step) for step in range(9)]


def test_patience_ends_and_the_rest_is_delivered_later(start: Begin, deliver: Deliver) -> None:
    """A delivery whose run is over gives up after its patience; the next one brings what is left."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)

    state = deliver(Moody(log_metrics=[RetryableError("away")] * 50), patience_s=30.0)
    assert (state.phase, state.error) == ("suspended", "log_metrics: away")
    assert points_of(run, Moody) == []

    state = deliver(Moody())
    assert (state.phase, state.error) == ("finished", None)
    assert points_of(run, Moody) == [("loss", 0.5, 0)]


def test_a_wrong_key_is_final_and_said(start: Begin, deliver: Deliver) -> None:
    """A setup that can never succeed ends the delivery at once, with its reason."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    tracker = Moody(setup=[FinalError("the key is wrong")])

    state = deliver(tracker)

    assert tracker.calls == [("setup", False)]
    assert (state.phase, state.error) == ("refused", "the key is wrong")
    assert "FinalError" in (state.traceback or "")


def test_a_refused_tracker_gets_everything_when_it_is_mended(start: Begin, deliver: Deliver) -> None:
    """Once the key is right, the whole run is delivered."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    deliver(Moody(setup=[FinalError("the key is wrong")]))

    state = deliver(Moody())

    assert state.phase == "finished"
    assert points_of(run, Moody) == [("loss", 0.5, 0)]


def test_one_bad_point_costs_only_itself(start: Begin, deliver: Deliver) -> None:
    """Of a batch that is refused for one value, all the others arrive, and the one is counted with its reason."""
    with start() as run:
        for step in range(1000):
            run.log({"loss": -1.0 if step in (3, 777) else 0.5}, step=step)

    state = deliver(Picky())

    assert len(points_of(run, Picky)) == 998
    assert state.refused == {"point: negative numbers are refused": 2}
    assert (state.phase, state.points) == ("finished", 998)


def test_what_was_refused_is_counted_once_across_deaths(start: Begin, deliver: Deliver) -> None:
    """A delivery that goes on after a death counts the points that the service will not have as before."""

    class Last(Picky):
        def finish(self, ending: Ending) -> None:
            raise Death

    with start() as run:
        for step in range(10):
            run.log({"loss": step - 2.0}, step=step)
    with pytest.raises(Death):
        deliver(Last())

    state = deliver(Picky())

    assert state.refused == {"point: negative numbers are refused": 2}
    assert (state.phase, state.points) == ("finished", 8)
    assert len(points_of(run, Picky)) == 8


def test_one_bad_param_costs_only_itself(start: Begin, deliver: Deliver) -> None:
    """Of params, summary values and tags that are refused together all the others arrive, and the bad ones are named."""

    class Short(MemoryTracker):
        name = "short"

        def log_params(self, params: Any) -> None:
            self._check(params.values())
            super().log_params(params)

        def log_summary(self, values: Any) -> None:
            self._check(values.values())
            super().log_summary(values)

        def add_tags(self, tags: Sequence[str]) -> None:
            self._check(tags)
            super().add_tags(tags)

        def _check(self, values: Any) -> None:
            if any(len(str(value)) > 20 for value in values):
                raise FinalError("at most 20 characters")

    with start() as run:
        run.log_params({"a": 1, "b": 2, "prompt": "x" * 30, "c": 3})
        run.log_summary({"best": 0.5, "verdict": "y" * 30})
        run.add_tags("fine", "z" * 30)
        run.log({"loss": 0.5}, step=0)

    state = deliver(Short())

    reading = Short.reading_of(run.dir)
    assert reading.params == {"a": 1, "b": 2, "c": 3}
    assert (reading.summary, reading.tags) == ({"best": 0.5}, {"fine"})
    assert state.refused == {f"{kind}: at most 20 characters": 1 for kind in ("params", "summary", "tags")}
    assert state.refused_names["params: at most 20 characters"] == ["prompt"]
    assert points_of(run, Short) == [("loss", 0.5, 0)]


def test_an_unknown_exception_is_tried_three_times(start: Begin, deliver: Deliver) -> None:
    """An SDK's own exception may be a mood or a bug: after three attempts it counts as final, with its name."""
    with start() as run:
        run.log_params({"a": 1})
        run.log({"loss": 0.5}, step=0)
    tracker = Moody(log_params=[KeyError("x"), KeyError("x"), KeyError("x")], log_metrics=[OSError("pipe"), None])

    state = deliver(tracker)

    assert [name for name, _ in tracker.calls].count("log_params") == 3
    assert state.refused == {"params: KeyError: 'x'": 1}
    assert points_of(run, Moody) == [("loss", 0.5, 0)]


def test_a_record_that_leads_out_of_the_run_is_refused(start: Begin, deliver: Deliver, tmp_path: Path) -> None:
    """A journal from elsewhere cannot make a delivery upload another file."""
    (tmp_path / "secret.txt").write_text("secret")
    with start() as run, open(run.dir / "journal.jsonl", "ab") as journal:
        for path in ("../../secret.txt", str(tmp_path / "secret.txt"), "media/missing.txt"):
            record = Media(time=1.0, key="stolen", step=0, kind="text", path=path)
            journal.write(encode(record) + b"\n")

    state = deliver(MemoryTracker())

    assert MemoryTracker.reading_of(run.dir).media == []
    assert sum(state.refused.values()) == 3


@pytest.mark.damages_journals
def test_damaged_lines_are_counted(start: Begin, deliver: Deliver) -> None:
    """Garbage in the journal costs nothing but itself, and the state says how much there was."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
        with open(run.dir / "journal.jsonl", "ab") as journal:
            journal.write(b"\x00\xffgarbage\n{}\n")
        run.log({"loss": 0.25}, step=1)

    state = deliver(MemoryTracker())

    assert (state.damaged, state.points) == (2, 2)


# Meters


class Meter(MemoryTracker):
    name = "meter"
    supports = frozenset(("metrics",))
    measures = True
    covers = False

    def measure(self, final: bool) -> dict[str, float]:
        return {"energy": 7.0 if final else 5.0, "power": float("inf")}


def test_what_a_meter_measures_reaches_the_other_trackers(start: Begin, deliver: Deliver) -> None:
    """Measurements are points at the last step, and the totals summary values; neither is sent back to the meter."""
    with start() as run:
        run.log({"loss": 0.5}, step=9)

    deliver(Meter())
    deliver(MemoryTracker())

    measured = [record for record in JournalReader(run.dir / "journal.jsonl") if meter_of(record) == "meter"]
    assert [(type(record), record.values) for record in measured] == [
        (Metrics, {"energy": 5.0, "power": "Infinity"}),
        (Summary, {"energy": 7.0, "power": "Infinity"}),
    ]
    assert points_of(run, Meter) == [("loss", 0.5, 9)]
    assert points_of(run, MemoryTracker) == [("loss", 0.5, 9), ("energy", 5.0, 9), ("power", float("inf"), 9)]
    assert summary_of(run) == {"energy": 7.0, "power": "Infinity"}


class Stopwatch(MemoryTracker):
    """A meter that has measured as many seconds as it is told."""

    name = "meter"
    supports = frozenset()
    measures = True
    covered_s = 0.0

    def measure(self, final: bool) -> dict[str, float]:
        if not final:
            return {}
        values = {"meter/measured_s": self.covered_s, "meter/energy": 7.0}
        self.log_metrics([Point(key, value, 0, 1.0) for key, value in values.items()])
        return values


class Overworked(Stopwatch):
    """Is killed when it has kept a measurement and not told it; the next one comes when the training is over."""

    covered_s = 30.0
    is_first = True

    def measure(self, final: bool) -> dict[str, float]:
        if not self.is_first:
            return {}
        super().measure(True)
        raise Death


def set_times(run: runcast.Run, began: float, ended: float) -> None:
    """Let a run's journal tell of a training from one moment to another."""
    journal = run.dir / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    times = {"start": began, "finish": ended}
    lines = [json.dumps({**record, "time": times.get(record["type"], began)}) for record in records]
    journal.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("covered_s", "name", "said"),
    [(44.0, "meter/energy", "measured 44 of 45 s"), (22.0, "meter/partial/energy", "measured 22 of 45 s")],
)
def test_a_part_of_a_training_is_never_given_as_the_whole(
    start: Begin, deliver: Deliver, covered_s: float, name: str, said: str
) -> None:
    """What a meter has of less than half of the training bears another name, for every tracker."""
    with start() as run:
        run.log({"loss": 0.5}, step=9)
    soon = time.time() + 1000.0  # so that nothing is measured behind the end
    set_times(run, soon - 45.0, soon)

    state = deliver(type("Meter", (Stopwatch,), {"covered_s": covered_s})())
    deliver(MemoryTracker())

    told = summary_of(run)
    assert told == {"meter/measured_s": covered_s, "meter/training_s": pytest.approx(45.0), name: 7.0}
    assert str(state.coverage) == said


def test_what_a_killed_meter_had_measured_is_told_once(start: Begin, deliver: Deliver) -> None:
    """A measurement that the meter has kept and the journal lacks comes with the next delivery, and only then."""
    with start() as run:
        run.log({"loss": 0.5}, step=9)
    soon = time.time() + 1000.0
    set_times(run, soon - 45.0, soon)

    with contextlib.suppress(Death):
        deliver(Overworked())
    later = type("Later", (Overworked,), {"is_first": False})
    deliver(later())
    (run.dir / "trackers" / "meter" / "state.json").unlink()
    deliver(later())
    deliver(MemoryTracker())

    told = {"meter/measured_s": 30.0, "meter/energy": 7.0, "meter/training_s": pytest.approx(45.0)}
    assert summary_of(run) == told
    assert sum(meter_of(record) == "meter" for record in JournalReader(run.dir / "journal.jsonl")) == 1


# Death


@pytest.mark.parametrize("moment", ["before", "after", "part"])
@pytest.mark.parametrize("at", range(1, 12))
def test_a_delivery_that_dies_anywhere_is_made_good_by_the_next(
    at: int, moment: str, start: Begin, deliver: Deliver
) -> None:
    """Whichever write a delivery dies at, before it, after it or in the middle: each point arrives exactly once."""
    _log_three_batches(start)

    with contextlib.suppress(Death):
        deliver(Mortal(at, moment))
    state = deliver(Mortal(-1, ""))

    _expect_exactly_once(state)


@settings(max_examples=25)
@given(
    deaths=st.lists(
        st.tuples(st.integers(1, 8), st.sampled_from(["before", "after", "part"]), st.integers(1, 40)), max_size=5
    )
)
def test_deliveries_that_die_again_and_again_lose_and_double_nothing(
    deaths: list[tuple[int, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any sequence of deaths, in the tracker or while the state is saved, leaves each point exactly once."""
    run = runcast.init(dir=tmp_path_factory.mktemp("runs"), id="run", report_to=None)
    _log_three_batches(lambda: run)
    real = loop.save_state

    for at, moment, save in deaths:
        saves = iter(range(save))

        def dying_save(folder: Path, state: DeliveryState, saves: Any = saves) -> None:
            if next(saves, None) is None:
                raise Death
            real(folder, state)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "save_state", dying_save)
            with contextlib.suppress(Death):
                _carry(run, Mortal(at, moment))
    _expect_exactly_once(_carry(run, Mortal(-1, "")), run)


def _carry(run: runcast.Run, tracker: Tracker) -> DeliveryState:
    directory = RunDirectory(run.dir)
    tracked = tracked_run(
        directory, directory.load(), tracker.name, TrackerChoice(tracker="", online=False, reason="test"), {}
    )
    return Delivery(directory, tracker.name, tracker, tracked, alive=lambda: False, wait=lambda _: None).run()


def _log_three_batches(start: Begin) -> None:
    with start() as run:
        for batch in range(3):
            run.log_params({f"p{batch}": batch})
            for step in range(20):
                run.log({"loss": step / 4, "same": 0.5}, step=step % 7)
        run.log({"note": runcast.Text("x")}, step=50)
        run.log_artifact(__file__)


def _expect_exactly_once(state: DeliveryState, run: runcast.Run | None = None) -> None:
    folder = run.dir if run else Path(state.url or "").parents[2]
    reading = Mortal.reading_of.__func__(_Readable, folder)  # type: ignore[attr-defined]
    found = sorted(point[:3] for point in reading.points)
    once = [("loss", step / 4, step % 7) for step in range(20)] + [("same", 0.5, step % 7) for step in range(20)]
    assert found == sorted(once * 3)
    assert (reading.params, reading.media) == ({"p0": 0, "p1": 1, "p2": 2}, [("note", 50)])
    assert reading.artifacts == {"test_loop.py"}
    assert (state.phase, state.points, reading.status) == ("finished", 120, "finished")


class _Readable(MemoryTracker):
    name = "mortal"


class Recorder(MemoryTracker):
    """Counts the files that it was given."""

    name = "recorder"

    def __init__(self) -> None:
        self.files: list[str] = []

    def log_media(self, media: MediaFile) -> None:
        self.files.append(media.key)
        super().log_media(media)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        self.files.append(artifact.name)
        super().log_artifact(artifact)

    def finish(self, ending: Ending) -> None:
        raise Death


class ForgetfulReader(Recorder):
    """Cannot tell which files it has."""

    name = "forgetful"

    def read(self, run: Any) -> Reading:
        reading = super().read(run)
        reading.media = reading.artifacts = None
        return reading


@pytest.mark.parametrize("kind", [Recorder, ForgetfulReader])
def test_files_are_not_uploaded_again_after_a_death(kind: type[Recorder], start: Begin, deliver: Deliver) -> None:
    """Media and artifacts that a tracker has, or of which it cannot tell, are not sent twice."""
    with start() as run:
        run.log({"note": runcast.Text("x")}, step=0)
        run.log_artifact(__file__)
    first, second = kind(), kind()

    for tracker in (first, second):
        with pytest.raises(Death):
            deliver(tracker)

    assert first.files == ["note", "test_loop.py"]
    assert second.files == []


def test_the_state_says_how_far_a_delivery_is(start: Begin, deliver: Deliver, tmp_path: Path) -> None:
    """Between two batches the cursor stands behind what was delivered, and the count is right."""
    run = start()
    run.log({"loss": 0.5}, step=0)
    size = (run.dir / "journal.jsonl").stat().st_size
    folder = run.dir / "trackers" / "memory"
    seen: list[DeliveryState | None] = []

    def alive() -> bool:
        if not seen:
            seen.append(load_state(folder))
            run.finish()
        return True

    deliver(MemoryTracker(), alive)

    assert seen[0] is not None
    assert (seen[0].phase, seen[0].cursor, seen[0].points, seen[0].clean) == ("delivering", size, 1, False)


def test_points_keep_their_time(start: Begin, deliver: Deliver) -> None:
    """A tracker is told when each point was logged, not when it was delivered."""
    with start() as run, open(run.dir / "journal.jsonl", "ab") as journal:
        journal.write(encode(Metrics(time=1234.5, step=0, values={"loss": 0.5})) + b"\n")

    deliver(MemoryTracker())

    assert MemoryTracker.reading_of(run.dir).points == [Point("loss", 0.5, 0, 1234.5)]


def test_a_pause_ends_when_the_run_does(
    start: Begin, deliver: Deliver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that was away and is back when the training ends gets all at once, but not before it wants to be asked."""
    run = start()
    run.log({"loss": 0.5}, step=0)
    monkeypatch.setattr(attempts, "backoff_s", lambda attempt, wished_s=None: 600.0)
    moody = Moody(setup=[RetryableError("away", retry_after_s=12.0), None])

    def wait(timeout_s: float) -> None:
        clock.wait(timeout_s)
        if clock.now > 1010:
            run.finish()

    deliver(moody, alive=lambda: True, wait=wait)

    assert 1012 <= clock.now < 1020
    assert Moody.reading_of(run.dir).status == "finished"


@pytest.mark.parametrize("moment", ["setup", "log_metrics"])
def test_what_a_service_wished_is_remembered_by_the_next_process(
    start: Begin, deliver: Deliver, clock: Clock, moment: str
) -> None:
    """A delivery that dies while it waits for Retry-After is followed by one that waits for what is left of it."""
    run = start()
    run.log({"loss": 0.5}, step=0)

    def die(timeout_s: float) -> None:
        clock.wait(20.0)
        raise Death

    with pytest.raises(Death):
        deliver(Moody(**{moment: [RetryableError("busy", retry_after_s=60.0)]}), alive=lambda: True, wait=die)
    run.finish()
    asked = []

    class Asked(Moody):
        def setup(self, run: TrackedRun) -> None:
            asked.append(clock.now)
            super().setup(run)

    state = deliver(Asked())

    assert asked == [pytest.approx(1060.0)]
    assert (state.phase, state.not_before <= clock.now) == ("finished", True)
    assert points_of(run, Moody) == [("loss", 0.5, 0)]


def test_who_syncs_by_hand_does_not_wait_for_what_a_service_wished_before(
    start: Begin, deliver: Deliver, clock: Clock
) -> None:
    """One call tells whether the service still wants to be left alone; if it does, that is obeyed, three times."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    gave_up = deliver(Moody(setup=[RetryableError("busy", retry_after_s=60.0)] * 9), patience_s=0.0)
    began, busy = clock.now, RetryableError("still busy", retry_after_s=30.0)

    again = deliver(Moody(setup=[busy] * 9), follow=False)

    assert (gave_up.phase, gave_up.not_before > began) == ("suspended", True)
    assert (again.phase, clock.now - began) == ("suspended", pytest.approx(60.0))
    assert deliver(Moody(), follow=False).phase == "finished"


def test_an_absurd_wish_of_an_earlier_process_costs_ten_minutes_at_most(
    start: Begin, deliver: Deliver, clock: Clock
) -> None:
    """As when a clock was put back meanwhile."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    folder = run.dir / "trackers" / "moody"
    folder.mkdir(parents=True)
    save_state(folder, DeliveryState(not_before=clock.now + 10**6))

    assert deliver(Moody()).phase == "finished"

    assert clock.now == pytest.approx(1600.0)


@pytest.mark.parametrize("moment", ["setup", "finish"])
def test_a_refusal_does_not_hide_that_points_may_be_missing(start: Begin, deliver: Deliver, moment: str) -> None:
    """A delivery dies in mid-send and the next one is refused: the one after it asks the tracker, and sends what it lacks."""
    with start() as run:
        for step in range(9):
            run.log({"loss": step / 2}, step=step)
    with pytest.raises(Death):
        deliver(Mortal(2, "part"))
    (run.dir / "trackers" / "mortal").rename(run.dir / "trackers" / "moody")
    before = points_of(run, Moody)

    refused = deliver(Moody(**{moment: [FinalError("the key is wrong")]}))
    state = deliver(Moody())

    assert (len(before) < 9, refused.phase, refused.clean) == (True, "refused", False)
    assert (state.phase, state.clean) == ("finished", True)
    assert sorted(points_of(run, Moody)) == [("loss", step / 2, step) for step in range(9)]


def test_a_state_that_cannot_be_written_ends_the_delivery_and_loses_nothing(start: Begin, deliver: Deliver) -> None:
    """On a full disk a delivery stops rather than go on without a memory; the next one delivers each point once."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    state_file = run.dir / "trackers" / "memory" / "state.json"
    state_file.mkdir(parents=True)

    stopped = deliver(MemoryTracker())
    state_file.rmdir()
    deliver(MemoryTracker())

    assert (stopped.phase, "directory" in (stopped.error or "")) == ("suspended", True)
    assert points_of(run, MemoryTracker) == [("loss", 0.5, 0)]


def test_a_service_that_goes_away_while_it_is_asked_what_it_has_is_asked_again(start: Begin, deliver: Deliver) -> None:
    """After an unclean death the tracker is read; an outage then is waited for like any other."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    with pytest.raises(Death):
        deliver(Mortal(2, "after"))
    (run.dir / "trackers" / "mortal").rename(run.dir / "trackers" / "moody")

    state = deliver(Moody(read=[None, RetryableError("away"), None]))

    assert state.phase == "finished"
    assert points_of(run, Moody) == [("loss", 0.5, 0)]


def test_records_that_a_tracker_does_not_hold_cost_no_write_each(
    start: Begin, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is written for what is delivered, and once a batch; a thousand records for others are no thousand files."""
    run = start()
    for step in range(1000):
        run.log({f"key {step}": object()}, step=step)
    run.finish()
    saved = []
    monkeypatch.setattr(loop, "save_state", lambda folder, state: saved.append(state.cursor))

    deliver(MemoryTracker())

    assert len(saved) < 10


@pytest.mark.damages_journals
def test_a_last_record_that_was_cut_is_counted_once(start: Begin, deliver: Deliver) -> None:
    """What a kill left half written is lost, and told; a later delivery has nothing more to do."""
    run = start()
    run.log({"loss": 0.5}, step=0)
    journal = run.dir / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"type":"metrics","time":1.0,"st')

    first = deliver(MemoryTracker())
    second = deliver(MemoryTracker())

    assert (first.damaged, first.status, first.cursor) == (1, "crashed", journal.stat().st_size)
    assert (second.damaged, second.attempts) == (1, 1)
    run.finish()


@pytest.mark.damages_journals
def test_a_last_record_that_lacks_only_its_newline_is_delivered(start: Begin, deliver: Deliver) -> None:
    """A kill, or a disk that is full, may cut that one byte."""
    run = start()
    journal = cut_newline(run)

    first = deliver(MemoryTracker())
    second = deliver(MemoryTracker())

    losses = [point[:3] for point in MemoryTracker.reading_of(run.dir).points]
    assert losses == [("loss", 0.5, 0), ("loss", 0.25, 1)]
    assert (first.damaged, first.status, first.cursor) == (0, "crashed", journal.stat().st_size)
    assert (second.damaged, second.attempts) == (0, 1)
    run.finish()


@pytest.mark.damages_journals
def test_a_journal_that_cannot_be_mended_loses_its_last_record(
    start: Begin, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that may only be read, say, there is no place for the newline."""
    run = start()
    journal = cut_newline(run)
    monkeypatch.setattr("runcast.delivery.transfer.append_lines", no_place)

    state = deliver(MemoryTracker())

    assert [point[:3] for point in MemoryTracker.reading_of(run.dir).points] == [("loss", 0.5, 0)]
    assert (state.damaged, state.status, state.cursor) == (1, "crashed", journal.stat().st_size)
    run.finish()


def cut_newline(run: runcast.Run) -> Path:
    """Log two records, and cut the last byte of the second one; return the journal."""
    journal = run.dir / "journal.jsonl"
    run.log({"loss": 0.5}, step=0)
    run.log({"loss": 0.25}, step=1)
    os.truncate(journal, journal.stat().st_size - 1)
    return journal


def no_place(*_: object) -> bool:
    """Fail as a file system does that is mounted for reading."""
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_run_that_was_deleted_at_the_service_is_recreated(start: Begin, deliver: Deliver) -> None:
    """Somebody deletes a run there while it trains: it gets another one, with everything from the first record on."""
    run = start(config={"lr": 0.5})
    run.log({"loss": 0.5}, step=0)
    steps = iter([lambda: (run.dir / "trackers" / "deletable" / "deleted").touch(), run.finish])

    def wait(timeout_s: float) -> None:
        run.log({"loss": 0.25}, step=1)
        next(steps)()

    state = deliver(Deletable(), alive=lambda: True, wait=wait)

    reading = Deletable.reading_of(run.dir)
    assert [point[:3] for point in reading.points] == [("loss", 0.5, 0), ("loss", 0.25, 1), ("loss", 0.25, 1)]
    assert (reading.params, reading.artifacts, reading.status) == ({"lr": 0.5}, {"config.json"}, "finished")
    ids = {"id": "run-2", "place": "kept", "generation": "2", "replaces": "run-1"}
    assert (state.points, state.refused, state.ids) == (3, {}, ids)


def test_a_run_that_was_deleted_before_it_is_resumed_is_recreated(start: Begin, deliver: Deliver) -> None:
    """The tracker is asked before its `setup`; the next run has everything, and knows which one it replaces."""
    start().finish("failed")
    deliver(Deletable())
    with start(resume="allow") as run:
        run.log({"loss": 0.5}, step=0)
    (run.dir / "trackers" / "deletable" / "deleted").touch()

    state = deliver(Deletable())

    assert [point[:3] for point in Deletable.reading_of(run.dir).points] == [("loss", 0.5, 0)]
    assert state.ids == {"id": "run-2", "place": "kept", "generation": "2", "replaces": "run-1"}


def test_a_run_that_somebody_keeps_deleting_is_given_up(start: Begin, deliver: Deliver) -> None:
    """It is recreated three times; one that was joined is not ours to recreate."""

    class Gone(MemoryTracker):
        def setup(self, run: TrackedRun) -> None:
            setups.append(run.generation)
            raise GoneError("there is no such run")

    class JoinedAndGone(MemoryTracker):
        name = "joined"

        def setup(self, run: TrackedRun) -> None:
            run.join()
            setups.append(run.generation)
            raise GoneError("there is no such run")

    setups: list[int] = []
    start().finish()

    states = [deliver(Gone()), deliver(JoinedAndGone())]

    assert [(state.phase, state.error) for state in states] == [("refused", "there is no such run")] * 2
    assert setups == [1, 2, 3, 4, 1]


def test_two_equal_points_in_a_refused_batch_stay_two(start: Begin, deliver: Deliver) -> None:
    """A batch that is refused is sent in halves; a half that has to be sent again does not take the other's points."""

    class Both(MemoryTracker):
        name = "both"
        calls = 0

        def log_metrics(self, points: Sequence[Point]) -> None:
            self.calls += 1
            if self.calls == 1:
                raise FinalError("too large a request")
            super().log_metrics(points)
            if self.calls == 2:
                raise RetryableError("the answer was lost")

    with start() as run:
        run.log({"a": 10}, step=0)
        run.log({"a": 10, "b": -1}, step=0)

    state = deliver(Both())

    assert points_of(run, Both) == [("a", 10, 0), ("a", 10, 0), ("b", -1, 0)]
    assert (state.points, state.refused) == (3, {})


class Counting(MemoryTracker):
    """Counts its calls, and refuses a request for one bad value in it."""

    name = "counting"

    def __init__(self, is_bad: Callable[[Point], bool] = bool, error: type[Exception] = FinalError) -> None:
        self.is_bad, self.error, self.calls, self.reads = is_bad, error, 0, 0

    def log_metrics(self, points: Sequence[Point]) -> None:
        self.calls += 1
        if any(map(self.is_bad, points)):
            raise self.error("negative numbers are refused")
        super().log_metrics(points)

    def read(self, run: TrackedRun) -> Reading:
        self.reads += 1
        return super().read(run)


@pytest.mark.parametrize("error", [FinalError, ZeroDivisionError])
@pytest.mark.parametrize("share", [1024, 5000])
def test_a_thousand_refused_points_cost_a_few_calls(
    error: type[Exception], share: int, start: Begin, deliver: Deliver, clock: Clock
) -> None:
    """Of 5,000 points the refused ones are found in some twenty calls and reads; an unknown exception pauses twice in all."""
    with start() as run:
        for step in range(5000):
            run.log({"loss": -1.0 if step * 3 % 5000 < share else 0.5}, step=step)
    tracker = Counting(lambda point: point.value < 0, error)

    state = deliver(tracker)

    assert len(points_of(run, Counting)) == state.points == 5000 - share
    assert sum(state.refused.values()) == share
    assert (tracker.calls <= 30, tracker.reads <= 30) == (True, True)
    assert sum(clock.waits) <= 2.0 + 4.0


def test_points_that_a_tracker_names_are_the_only_ones_that_are_lost(start: Begin, deliver: Deliver) -> None:
    """A service that says which points it refuses, and keeps the others at once, costs one more call, and none twice."""

    class Naming(MemoryTracker):
        name = "naming"
        calls = 0

        def log_metrics(self, points: Sequence[Point]) -> None:
            self.calls += 1
            super().log_metrics([point for point in points if point.step % 3])
            if refused := [point for point in points if not point.step % 3]:
                raise FinalError("every third step is refused", refused=refused)

    with start() as run:
        for step in range(300):
            run.log({"loss": 0.5}, step=step)
    tracker = Naming()

    state = deliver(tracker)

    assert sorted(step for _, _, step in points_of(run, Naming)) == [step for step in range(300) if step % 3]
    assert state.refused == {"point: every third step is refused": 100}
    assert (tracker.calls, state.points) == (1, 200)


def log_repeatedly(run: runcast.Run) -> None:
    """Log several values under each name."""
    for text in ("first", "second", "third"):
        run.log({"note": runcast.Text(text)}, step=4)
    run.log({"note": runcast.Text("another step")}, step=5)


def test_media_of_one_key_and_step_all_arrive_under_numbered_names(start: Begin, deliver: Deliver) -> None:
    """The second text of a key at a step is `key/1`, and a key of the user's own that is spelt so gets a number, too."""
    with start() as run:
        log_repeatedly(run)
        run.log({"note/1": runcast.Text("spelt so")}, step=4)

    deliver(MemoryTracker())

    found = MemoryTracker.reading_of(run.dir).media
    assert found == [("note", 4), ("note/1", 4), ("note/2", 4), ("note", 5), ("note/1/1", 4)]


@pytest.mark.parametrize("at", range(2, 9))
def test_repeated_media_survive_a_death_each_once(at: int, start: Begin, deliver: Deliver) -> None:
    """Whichever write a delivery dies at: the files that are missing come, under the names that they would have had."""
    with start() as run:
        log_repeatedly(run)
    with contextlib.suppress(Death):
        deliver(Mortal(at, "after"))

    deliver(Mortal(-1, ""))

    found = _Readable.reading_of(run.dir).media
    assert sorted(found or ()) == [("note", 4), ("note", 5), ("note/1", 4), ("note/2", 4)]


def test_a_file_that_arrived_before_its_call_failed_is_not_sent_again(start: Begin, deliver: Deliver) -> None:
    """The tracker is asked before a file is sent once more."""

    class AnswersLate(MemoryTracker):
        name = "late"
        calls = 0

        def log_media(self, media: MediaFile) -> None:
            super().log_media(media)
            self.calls += 1
            if self.calls == 1:
                raise RetryableError("the answer was lost")

    with start() as run:
        log_repeatedly(run)

    deliver(AnswersLate())

    assert AnswersLate.reading_of(run.dir).media == [("note", 4), ("note/1", 4), ("note/2", 4), ("note", 5)]


def test_the_second_version_of_an_artifact_is_sent_after_a_death(
    start: Begin, deliver: Deliver, tmp_path: Path
) -> None:
    """That a tracker has the name does not say that it has the newest file of that name."""
    (tmp_path / "model.pt").write_text("one")

    class Cut(Recorder):
        def log_artifact(self, artifact: ArtifactFile) -> None:
            super().log_artifact(artifact)
            if self.files.count("model.pt") == 2:
                raise Death

    with start() as run:
        run.log_artifact(tmp_path / "model.pt")
        (tmp_path / "model.pt").write_text("two")
        run.log_artifact(tmp_path / "model.pt")
    with pytest.raises(Death):
        deliver(Cut())
    second = Recorder()

    with pytest.raises(Death):
        deliver(second)

    assert second.files == ["model.pt"]
