"""A value, a key, a config or a step may raise whatever it likes, whenever: training goes on, and the run ends right."""

import collections.abc
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcast
from runcast.journal.records import Artifact, Dropped, Finish, Metrics, Params, Tags, points
from runcast.run import recording as run_module
from runcast.values.numbers import DeviceValue, NotANumber, to_number
from tests.journals import records

torch = pytest.importorskip("torch")

Start = Callable[..., runcast.Run]


class Panic(BaseException):
    """Stands for the panic of an extension that is written in Rust, which is no Exception."""


class Raising:
    """Raises the same from all that can be asked of a number."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _raise(self, *_: object) -> Any:
        raise self.error

    __float__ = __len__ = __iter__ = __repr__ = __str__ = __bool__ = __index__ = __fspath__ = item = _raise  # type: ignore[assignment]


class ClassRaises:
    """Raises when `isinstance` asks for its class."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise NotImplementedError


class Broken(collections.abc.Mapping):  # type: ignore[type-arg]
    """Gives one entry, and raises where the second would be."""

    def __iter__(self) -> Iterator[str]:
        yield "first"
        raise Panic

    def __len__(self) -> int:
        return 2

    def __getitem__(self, key: str) -> float:
        return 0.5


class ItemsRaise(dict):  # type: ignore[type-arg]
    """Cannot be listed."""

    def items(self) -> Any:
        raise ValueError


class NoText:
    """Is a key that cannot be written."""

    def __str__(self) -> str:
        raise RuntimeError


class OwnEquality(str):
    """Is a text that raises when it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


def logged(run: runcast.Run) -> list[tuple[str, Any, int]]:
    """List the points of a run's journal."""
    return [(key, value, step) for record in records(run, Metrics) for key, value, step, _ in points(record)]


BAD = [
    Raising(ValueError("no")),
    Raising(Panic()),
    Raising(MemoryError()),
    Raising(RecursionError()),
    complex(1, 0),
    10**5000,
    np.array([None], dtype=object),
    np.array((0.5,), dtype=[("a", "f8")]),
    np.datetime64("2026-01-01", "ns"),
    np.timedelta64(5, "ns"),
    np.datetime64("NaT", "ns"),
    np.ma.masked,
    np.ma.array([0.5], mask=[True]),
    torch.tensor(1j),
    torch.empty((), device="meta"),
    torch.eye(1).to_sparse(),
    (number for number in range(3)),
]


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_a_bad_value_costs_itself_only(value: Any, start: Start) -> None:
    """Among metrics it is counted under its key, and the values beside it are logged."""
    run = start()

    run.log({"before": 0.5, "bad": value, "after": 0.25}, step=3)
    run.finish()

    assert logged(run) == [("before", 0.5, 3), ("after", 0.25, 3)]
    assert run.statistics().dropped == {"bad": 1}


def test_a_class_that_raises_costs_its_value_only(start: Start) -> None:
    """An object that does not even say what it is, is counted like any other, as a value and as what is logged."""
    run = start()

    run.log({"bad": ClassRaises(), "good": 0.5}, step=ClassRaises())  # type: ignore[arg-type]
    for take in (run.log, run.log_params, run.log_summary, run.add_tags, run.log_artifact):
        take(ClassRaises())  # type: ignore[operator]
    run.log_params({"bad": ClassRaises(), "lr": 1})

    assert logged(run) == [("good", 0.5, 0)]
    assert records(run, Params)[-1].values["lr"] == 1
    assert run.statistics().dropped["bad"] == 1


@pytest.mark.parametrize(
    "value", [*BAD, None, "", "a\0b", "\ud800", object(), int, [1]], ids=lambda v: type(v).__name__
)
def test_a_bad_value_raises_nowhere(value: Any, start: Start, tmp_path: Path) -> None:
    """As params, summary, tag, step, artifact, its name and its type: nothing raises, and the run ends as it should."""
    run = start()
    file = tmp_path / "file"
    file.write_text("content")

    with run:
        run.log(value)
        run.log({"loss": 0.5}, step=value)
        for take in (run.log_params, run.log_summary, run.add_tags, run.log_artifact):
            take(value)
        run.log_params({"nested": {"value": value, "other": 1}})
        run.log_summary({"value": value, "other": 1})
        run.log_artifact(file, name=value)
        run.log_artifact(file, type=value)

    assert records(run, Finish)[0].status == "finished"
    assert records(run, Params)[-1].values["nested/other"] == 1


@pytest.mark.parametrize(
    "key",
    [NoText(), OwnEquality("own"), None, b"\xff", (1, 2), "\ud800", "a\0b", ""],
    ids=lambda key: type(key).__name__,
)
def test_a_bad_key_loses_no_value(key: Any, start: Start) -> None:
    """A key that is no text, or raises, is given a name: its value is logged, as a number, a param and a final value."""
    run = start()

    run.log({key: 0.5, "loss": 0.25}, step=0)
    run.log({key: torch.tensor(0.125)}, step=1)
    run.log_params({key: 1, "lr": 2})
    run.log_summary({key: 1, "best": 2})

    assert sorted(value for _, value, _ in logged(run)) == [0.125, 0.25, 0.5]
    assert sorted(records(run, Params)[0].values.values()) == [1, 2]
    assert not run.statistics().dropped


def test_keys_that_are_written_alike_stay_apart(start: Start) -> None:
    """1 and "1", or a/b and a: {b}, are two metrics: none replaces the other."""
    run = start()

    run.log({1: 0.5, "1": 0.25, "a/b": 1.0, "a": {"b": 2.0}}, step=0)

    assert sorted(value for _, value, _ in logged(run)) == [0.25, 0.5, 1.0, 2.0]
    assert len({key for key, _, _ in logged(run)}) == 4


def test_a_mapping_that_breaks_off_keeps_what_was_read(start: Start) -> None:
    """Its first entry is logged, and that the rest is missing is counted."""
    run = start()

    run.log({"train": Broken(), "loss": 0.25}, step=0)
    run.log(Broken(), step=1)
    run.log(ItemsRaise(loss=1), step=2)
    run.log(Broken(), step=2.5)  # type: ignore[arg-type]

    assert logged(run) == [("train/first", 0.5, 0), ("loss", 0.25, 0), ("first", 0.5, 1), ("first", 0.5, 2)]
    assert run.statistics().dropped == {"train": 1, "log": 3}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=repr)
def test_a_signal_is_not_taken_for_a_bad_value(error: BaseException, start: Start) -> None:
    """What a signal's handler raises while a value is read ends the training, and the run as what it was."""
    run = start()

    with pytest.raises(type(error)), run:
        run.log({"loss": Raising(error)}, step=0)

    assert records(run, Finish)[0].status == "killed"


def test_the_users_own_exception_leaves_the_block_unchanged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its text raises, the timeout in the environment is wrong and a device has died."""
    monkeypatch.setattr(run_module, "start_copy", lambda value: DeviceValue(value, Raising(OSError("dead"))._raise))
    run = start()
    monkeypatch.setenv("RUNCAST_FINISH_TIMEOUT_S", "soon")

    class Own(Exception):
        def __str__(self) -> str:
            raise ValueError

    error = Own()
    run.log({"loss": object()}, step=0)
    with pytest.raises(Own) as caught, run:
        raise error

    assert caught.value is error
    assert error.__context__ is None
    assert [record.status for record in records(run, Finish)] == ["failed"]
    assert run.status == "failed"


# Device values that come to nothing


@pytest.mark.parametrize(
    ("host", "ready", "reason"),
    [
        (1j, lambda: True, "is a complex, which no tracker can hold. Log abs(value), or its .real and .imag"),
        (Raising(RuntimeError("dead")), lambda: True, "is a Raising that cannot be read (RuntimeError)"),
        (
            0.5,
            Raising(RuntimeError("device-side assert"))._raise,
            "is on a device that cannot be read (RuntimeError: device-side assert)",
        ),
        (0.5, lambda: False, "did not arrive from its device in time"),
    ],
    ids=["complex", "host raises", "dead device", "never"],
)
@pytest.mark.parametrize("when", ["later log", "finish", "with"])
def test_a_device_value_that_comes_to_nothing_is_counted(
    host: Any, ready: Any, reason: str, when: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a later `log`, `finish` or the end of a `with` finds out: it is counted, and the others are logged."""
    bad = object()
    monkeypatch.setattr(
        run_module,
        "start_copy",
        lambda value: (
            DeviceValue(host, ready) if value is bad else DeviceValue(value, lambda: True) if value == 2 else None
        ),
    )
    monkeypatch.setenv("RUNCAST_FINISH_TIMEOUT_S", "0.05")
    run = start()

    if when == "with":
        with run:
            run.log({"bad": bad, "good": 2.5}, step=0)
            run.log({"good": np.float64(2)}, step=1)
    else:
        run.log({"bad": bad, "good": 2.5}, step=0)
        run.log({"good": np.float64(2)}, step=1)
        if when == "later log":
            run.log({"good": 3.5}, step=2)
        run.finish()

    assert {("good", 2.5, 0), ("good", 2, 1)} <= set(logged(run))
    assert run.statistics().dropped == {"bad": 1}
    assert [record.reason for record in records(run, Dropped)] == [reason]
    assert records(run, Finish)[0].status == "finished"


def test_a_step_on_a_device_is_not_waited_for(start: Start) -> None:
    """It is reported with what to give instead, and the last step is used."""

    class OnDevice:
        device = "cuda:0"

        def detach(self) -> Any:
            raise AssertionError

        item = detach

    run = start()
    run.log({"loss": 0.5}, step=4)
    run.log({"loss": 0.25}, step=OnDevice())  # type: ignore[arg-type]

    assert logged(run) == [("loss", 0.5, 4), ("loss", 0.25, 4)]
    assert "Pass int(step)" in records(run, Dropped)[0].reason


@pytest.mark.parametrize("step", [2.0, np.float32(2), torch.tensor(2.0)], ids=repr)
def test_a_whole_step_may_be_a_float(step: Any, start: Start) -> None:
    """2.0 is 2."""
    run = start()

    run.log({"loss": 0.5}, step=step)

    assert logged(run) == [("loss", 0.5, 2)]


@pytest.mark.parametrize("step", [1.5, np.float32(1.5), torch.tensor(1.5)], ids=repr)
def test_a_step_between_two_is_kept_as_a_metric(step: Any, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A fraction is not cut: calls are counted, or the last step is used, and the fraction is logged beside; said once."""
    run = start()

    run.log({"loss": 0.5}, step=step)
    run.log({"loss": 0.25}, step=1.75)  # type: ignore[arg-type]
    run.log({"loss": 0.125}, step=7)
    run.log({"loss": 0.0625}, step=7.5)  # type: ignore[arg-type]

    assert logged(run) == [
        *(("step", 1.5, 0), ("loss", 0.5, 0), ("step", 1.75, 1), ("loss", 0.25, 1)),
        *(("loss", 0.125, 7), ("step", 7.5, 7), ("loss", 0.0625, 7)),
    ]
    assert run.statistics().dropped == {}
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith(
        "step=1.5 is not a whole number: calls are counted as steps, and it is kept as the metric 'step'"
    )


def test_a_dtensor_of_which_each_rank_has_a_part_is_refused() -> None:
    """Reading it would be a collective that the other ranks do not take part in; one that is whole here is read."""
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, init_device_mesh

    torch.distributed.init_process_group("fake", store=_fake_store(), rank=0, world_size=2)
    try:
        mesh = init_device_mesh("cpu", (2,))
        whole = DTensor.from_local(torch.tensor([0.5]), mesh, [Replicate()], run_check=False)
        assert to_number(whole) == 0.5
        for placement in (Partial(), Shard(0)):
            part = DTensor.from_local(torch.tensor([0.5]), mesh, [placement], run_check=False)
            with pytest.raises(NotANumber, match="full_tensor"):
                to_number(part)
    finally:
        torch.distributed.destroy_process_group()


def _fake_store() -> Any:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    return FakeStore()


# What else may raise


def test_a_logging_handler_that_raises_stops_nothing(start: Start) -> None:
    """A handler of the script's own is told like any other, and what it raises ends there."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError

    run = start()
    handler = Handler()
    logging.getLogger("runcast").addHandler(handler)
    try:
        run.log({"word": "text", "loss": 0.5}, step=0)
    finally:
        logging.getLogger("runcast").removeHandler(handler)

    assert logged(run) == [("loss", 0.5, 0)]


def test_a_carrier_that_raises_stops_nothing(start: Start) -> None:
    """A mistake of ours in the deliveries is told with what to do, and the end of the run is in the journal."""

    class Carrier:
        def __getattr__(self, name: str) -> Any:
            if name == "states":
                return dict
            return Raising(OSError("no more processes"))._raise

    run = start()
    run._carrier = Carrier()  # type: ignore[assignment]
    run._check_at = 0.0
    run.log({"loss": 0.5}, step=0)
    run.finish()

    assert records(run, Finish)[0].status == "finished"


def test_an_interrupt_while_device_values_are_awaited_leaves_the_end_in_the_journal(tmp_path: Path) -> None:
    """The second Ctrl-C, while `finish` waits, ends the waiting and not the record of how the run ended."""
    code = (
        "import os, runcast; from runcast.run import recording as module; from runcast.values.numbers import DeviceValue\n"
        "module.start_copy = lambda value: DeviceValue(value, lambda: bool(print('waiting', flush=True)))\n"
        f"run = runcast.init('p', report_to=None, dir={str(tmp_path)!r}, id='one')\n"
        "run.log({'loss': object()}, step=0)\n"
        "run.finish('failed', timeout_s=60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    process.communicate()

    lines = (tmp_path / "one" / "journal.jsonl").read_text().splitlines()
    assert '"type":"finish"' in lines[-1]
    assert '"status":"failed"' in lines[-1]


def test_an_artifact_without_a_path_is_not_the_working_directory(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty path is a mistake, not the folder that the script is in."""
    monkeypatch.chdir(tmp_path)
    run = start()

    run.log_artifact("")

    assert records(run, Artifact) == []
    assert run.statistics().dropped == {"artifact": 1}


def test_an_artifact_in_the_home_is_told_how_to_be_named(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """As in Python and in W&B, ~ is not expanded; but the message says so. A file of that name is kept."""
    run = start()

    run.log_artifact("~/model.pt")

    assert "use os.path.expanduser('~/model.pt')" in caplog.text
    assert run.statistics().dropped == {"model.pt": 1}


def test_media_that_raise_while_they_are_saved_cost_no_numbers(start: Start) -> None:
    """A figure that panics while it is drawn is counted."""

    class Figure:
        def savefig(self, *_: object, **__: object) -> None:
            raise Panic

    run = start()
    run.log({"figure": runcast.Figure(Figure()), "loss": 0.5}, step=0)

    assert logged(run) == [("loss", 0.5, 0)]
    assert run.statistics().dropped == {"figure": 1}


def test_a_tag_that_raises_costs_no_other(start: Start) -> None:
    """The tags beside it are added."""
    run = start()

    run.add_tags("first", Raising(ValueError()), "last")  # type: ignore[arg-type]

    assert [record.tags for record in records(run, Tags)] == [["first", "last"]]


class Preempted(Exception):
    """What a script raises in its handler of the signal with which a scheduler takes the machine away."""


class Signalled:
    """Takes so long to read that a signal arrives meanwhile."""

    def _wait(self, *_: object) -> Any:
        signal.raise_signal(signal.SIGUSR1)
        return 0.5

    __float__ = __str__ = __repr__ = item = _wait


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.log({"loss": Signalled()}),
        lambda run: run.log({Signalled(): 1.0}),
        lambda run: run.log_params({"lr": Signalled()}),
        lambda run: run.log_summary({"best": Signalled()}),
        lambda run: run.add_tags(Signalled()),
    ],
    ids=["value", "key", "param", "summary", "tag"],
)
def test_what_a_signal_handler_raises_reaches_the_script(start: Start, call: Callable[[runcast.Run], None]) -> None:
    """A timeout or a preemption interrupts whatever runs, also a call of ours: it is not a mistake of the value."""

    def preempt(*_: object) -> None:
        raise Preempted

    before = signal.signal(signal.SIGUSR1, preempt)
    run = start()
    try:
        with pytest.raises(Preempted):
            call(run)
    finally:
        signal.signal(signal.SIGUSR1, before)
        run.finish()
