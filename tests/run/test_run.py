"""What a training script tells a run is in the journal when the call returns; nothing that it says can hurt it."""

import copy
import math
import os
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import runcast
from runcast.core.errors import OptionError
from runcast.journal.reader import JournalReader
from runcast.journal.records import Artifact, Dropped, Finish, Media, Metrics, Params, Summary, Tags, points
from runcast.run import recording as run_module
from runcast.values.numbers import DeviceValue
from tests.journals import records

torch = pytest.importorskip("torch")

Start = Callable[..., runcast.Run]


def logged(run: runcast.Run) -> list[tuple[str, Any, int]]:
    """List the points of a run's journal."""
    return [(key, value, step) for record in records(run, Metrics) for key, value, step, _ in points(record)]


# What is logged


def test_a_metric_is_in_the_journal_when_log_returns(start: Start) -> None:
    """A point survives the death of the process from the moment at which `log` returned."""
    run = start()
    before = time.time()

    run.log({"train/loss": 0.25, "epoch": 1}, step=7)

    (record,) = records(run, Metrics)
    assert (record.values, record.step, record.by) == ({"train/loss": 0.25, "epoch": 1}, 7, None)
    assert before <= record.time <= time.time()


def test_values_of_every_kind_are_logged_as_numbers(start: Start) -> None:
    """Python, NumPy and tensor values stand beside each other in one call, NaN and the infinities among them."""
    run = start()

    run.log(
        {"a": 1, "b": 0.5, "c": True, "d": np.float32(0.25), "e": torch.tensor(2.0), "f": math.nan, "g": -math.inf},
        step=0,
    )

    values = {key: value for key, value, _ in logged(run)}
    assert math.isnan(values.pop("f"))
    assert values == {"a": 1, "b": 0.5, "c": 1, "d": 0.25, "e": 2.0, "g": -math.inf}


def test_a_sum_that_overflows_is_no_infinite_value(start: Start) -> None:
    """Values whose sum is infinite, or whose infinities cancel, are logged as they are."""
    run = start()

    run.log({"a": 1.7e308, "b": 1.7e308}, step=0)
    run.log({"a": math.inf, "b": -math.inf}, step=1)
    run.log({"a": 2**70, "b": 0.5}, step=2)
    run.log({"a": 2**63}, step=3)  # one bit more than a service has

    assert logged(run) == [
        ("a", 1.7e308, 0),
        ("b", 1.7e308, 0),
        ("a", math.inf, 1),
        ("b", -math.inf, 1),
        ("a", 1.1805916207174113e21, 2),
        ("b", 0.5, 2),
        ("a", 9.223372036854775808e18, 3),
    ]


@pytest.mark.parametrize("wrap", [dict, OrderedDict, MappingProxyType], ids=lambda wrap: wrap.__name__)
def test_any_mapping_can_be_logged(wrap: Any, start: Start) -> None:
    """A mapping that is no dict, or is nested, is logged with its keys joined by slashes."""
    run = start()

    run.log(wrap({"train": {"loss": 0.5, "acc": {"top1": 1}}, "lr": 0.125}), step=3)

    assert logged(run) == [("train/loss", 0.5, 3), ("train/acc/top1", 1, 3), ("lr", 0.125, 3)]


@pytest.mark.parametrize(
    "key", ["", "a\nb", "größe", "\ud800", "x" * 5000, 1, 2.5, None, True, (1, 2), b"bytes", Path("p")]
)
def test_any_key_can_be_logged(key: Any, start: Start) -> None:
    """A key that is no text becomes one, one that no file can hold is escaped; the point is there and can be read."""
    run = start()

    run.log({key: 0.5}, step=0)
    run.log({key: torch.tensor(0.5)}, step=1)

    found = logged(run)
    assert [(value, step) for _, value, step in found] == [(0.5, 0), (0.5, 1)]
    assert all(isinstance(name, str) for name, _, _ in found)


class Name(str, Enum):
    """Names of metrics, as in many scripts."""

    LOSS = "loss"


def test_a_member_of_an_enum_of_texts_is_its_text(start: Start) -> None:
    """Whether a plain text was logged before or not, it is one metric."""
    run = start()

    for step, key in enumerate((Name.LOSS, "loss", Name.LOSS)):
        run.log({key: 0.5}, step=step)
    run.log({Name.LOSS: torch.tensor(0.5)}, step=3)

    assert logged(run) == [("loss", 0.5, 0), ("loss", 0.5, 1), ("loss", 0.5, 2), ("loss", 0.5, 3)]


def test_steps_follow_what_the_script_says(start: Start) -> None:
    """An explicit step holds until the next one, and may repeat, go back, be negative and be of any integer type."""
    run = start()

    for step in (5, 5, 3, -1, np.int64(9), torch.tensor(4), 2**40, None, 2.0, True):
        run.log({"loss": 0.5}, step=step)

    assert [step for _, _, step in logged(run)] == [5, 5, 3, -1, 9, 4, 1099511627776, 1099511627776, 2, 1]
    assert run.step == 1


def test_without_steps_calls_are_counted(start: Start) -> None:
    """A script that gives no steps gets 0, 1, 2 …, whatever it logs."""
    run = start()

    run.log({"loss": 0.5})
    run.log({"note": runcast.Text("media only")})
    run.log({"wrong": [1, 2]})
    run.log({"loss": 0.25})

    assert logged(run) == [("loss", 0.5, 0), ("loss", 0.25, 3)]
    assert [record.step for record in records(run, Media)] == [1]


def test_media_alone_counts_as_a_call(start: Start) -> None:
    """Two images that are logged one after the other without steps have two steps."""
    run = start()

    run.log({"note": runcast.Text("one")})
    run.log({"note": runcast.Text("two")})

    assert [record.step for record in records(run, Media)] == [0, 1]


@pytest.mark.parametrize("step", ["5", math.nan, math.inf, object(), [1], 2**70, torch.tensor([1, 2])])
def test_a_step_that_is_none_costs_no_point(step: Any, start: Start) -> None:
    """A step that is no integer is reported, and the point is kept at the last step."""
    run = start()
    run.log({"loss": 0.5}, step=4)

    run.log({"loss": 0.25}, step=step)

    assert logged(run) == [("loss", 0.5, 4), ("loss", 0.25, 4)]
    assert run.statistics().dropped == {"step": 1}


def test_params_are_flat_and_redacted(start: Start) -> None:
    """Nested params are joined by slashes; a secret never reaches the file."""
    run = start()

    run.log_params({"model": {"layers": 3, "name": "größe"}, "api_key": "sk-very-secret-1234567890", "num_tokens": 7})

    (record,) = records(run, Params)
    assert record.values["model/layers"] == 3
    assert record.values["model/name"] == "größe"
    assert record.values["num_tokens"] == 7
    assert b"very-secret" not in (run.dir / "journal.jsonl").read_bytes()


@pytest.mark.parametrize("params", ["text", 7, [1, {"a": 2}], {1: 2}, object(), {"a": object(), "b": {1, 2}}, (), b"x"])
def test_params_of_any_shape_are_taken(params: Any, start: Start) -> None:
    """What is no dict of plain values is written down as well as it can be, and raises nothing."""
    run = start()

    run.log_params(params)
    run.log_summary(params)
    run.finish()

    assert records(run, Finish)[0].status == "finished"


def test_a_summary_holds_numbers_texts_and_bools(start: Start) -> None:
    """Final values are kept with their types; None is counted."""
    run = start()

    run.log_summary({"best": 0.5, "epoch": 3, "word": "good", "done": True, "nothing": None, "nan": math.nan})

    assert records(run, Summary)[0].values == {"best": 0.5, "epoch": 3, "word": "good", "done": True, "nan": "NaN"}
    assert run.statistics().dropped == {"nothing": 1}


def test_a_number_of_any_kind_is_a_number_in_a_summary(start: Start) -> None:
    """As in `log`; in a config, it keeps its text."""
    run = start(config={"lr": Decimal("0.5")})

    run.log_summary({"best": Decimal("0.5"), "third": Fraction(1, 4), "many": -(2**70), "z": {"w": 1j}, "ok": True})

    assert records(run, Summary)[0].values == {"best": 0.5, "third": 0.25, "many": -(2.0**70), "z/w": "1j", "ok": True}
    assert run.config == {"lr": "0.5"}


def test_media_in_a_summary_are_logged(start: Start) -> None:
    """As W&B's summary takes them; their fields were results, `data` and `caption`."""
    run = start()
    run.log({"loss": 0.5}, step=4)

    run.summary["curve"] = runcast.Image(np.zeros((8, 8)), caption="at the end")
    run.summary.update({"best": 1, "test": {"words": [runcast.Text("a"), runcast.Text("b")], "f1": 0.5}})
    run.log_summary({"table": runcast.Table([[1]], columns=["x"])})
    run.log({"loss": 0.25})

    kept = [(medium.key, medium.kind, medium.step) for medium in records(run, Media)]
    assert kept == [("curve", "image", 4), ("test/words", "text", 4), ("test/words", "text", 4), ("table", "table", 4)]
    assert [record.values for record in records(run, Summary)] == [{"best": 1, "test/f1": 0.5}]
    assert run.summary == {"best": 1, "test": {"f1": 0.5}}
    assert [record.step for record in records(run, Metrics)] == [4, 4]
    assert run.statistics().dropped == {}


def test_media_in_the_summary_of_a_finished_run_are_counted(start: Start) -> None:
    """And leave no file behind."""
    run = start()
    run.finish()

    run.summary["curve"] = runcast.Text("late")

    assert run.statistics().dropped == {"log": 1}
    assert not (run.dir / "media").exists()


def test_a_picture_with_masks_is_kept_without_them(start: Start) -> None:
    """What is missing is counted under its key."""
    run = start()

    run.log({"val": runcast.Image(np.zeros((8, 8)), masks={})}, step=1)

    assert [record.key for record in records(run, Media)] == ["val"]
    assert [(record.key, record.reason) for record in records(run, Dropped)] == [
        ("val", "is an Image that was kept without masks, which it cannot hold")
    ]


def test_tags_are_texts(start: Start) -> None:
    """Tags can be given at the start and added later; anything becomes a text."""
    run = start(tags=["first", "second"])

    run.add_tags("third", 4)  # type: ignore[arg-type]
    run.add_tags()
    run.add_tags(["fifth", " sixth "], ("seventh",), "", " ")

    assert [record.tags for record in records(run, Tags)] == [
        ["first", "second"],
        ["third", "4"],
        ["fifth", "sixth", "seventh"],
    ]


# Artifacts and media


def test_an_artifact_that_is_not_kept_says_why(start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At once, in one line, and later in `runcast show` and `verify`."""
    run = start()
    missing = tmp_path / "model.pt"

    run.log_artifact(missing)
    run.log_artifact(missing)

    reason = f"is an artifact that was not kept: [Errno 2] No such file or directory: '{missing}'"
    assert [(record.key, record.reason) for record in records(run, Dropped)] == [("model.pt", reason)]
    assert caplog.messages == [f"1 value was dropped: 'model.pt' {reason}. Further ones are only counted."]
    assert run.statistics().dropped == {"model.pt": 2}


def test_an_artifact_is_kept_as_it_was(start: Start, tmp_path: Path) -> None:
    """What is logged is a snapshot: rewriting or deleting the file later changes nothing, and each version is kept."""
    run = start()
    model = tmp_path / "model.pt"

    for content in (b"first", b"second"):
        model.write_bytes(content)
        run.log_artifact(model, type="model")
    model.unlink()

    kept = records(run, Artifact)
    assert [(record.name, record.kind, record.size_bytes) for record in kept] == [
        ("model.pt", "model", 5),
        ("model.pt", "model", 6),
    ]
    assert [(run.dir / record.path).read_bytes() for record in kept] == [b"first", b"second"]


def test_a_folder_is_an_artifact(start: Start, tmp_path: Path) -> None:
    """A folder is kept with all that is in it, under the name that the user gives."""
    run = start()
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "inner" / "größe.txt").write_text("x" * 10)

    run.log_artifact(tmp_path / "data", name="my data", type="dataset")

    (record,) = records(run, Artifact)
    assert (record.name, record.size_bytes) == ("my data", 10)
    assert (run.dir / record.path / "inner" / "größe.txt").read_text() == "x" * 10


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_a_link_is_kept_under_its_own_name(what: str, start: Start, tmp_path: Path) -> None:
    """What a hub or DVC keeps under a hash, and `last` of many trainers, are links."""
    run = start()
    (tmp_path / "blobs" / "5f2a").mkdir(parents=True)
    file = tmp_path / "blobs" / "5f2a" / "c0de"
    file.write_text("weights")
    (tmp_path / "last.ckpt").symlink_to(file if what == "a file" else file.parent)

    run.log_artifact(tmp_path / "last.ckpt")

    (record,) = records(run, Artifact)
    assert (record.name, record.path.rpartition("/")[2]) == ("last.ckpt", "last.ckpt")
    kept = run.dir / record.path
    assert (kept if what == "a file" else kept / "c0de").read_text() == "weights"


def test_a_missing_artifact_costs_training_nothing(start: Start, tmp_path: Path) -> None:
    """A file that is not there is reported and counted, not raised."""
    run = start()

    run.log_artifact(tmp_path / "missing.pt")

    assert records(run, Artifact) == []
    assert run.statistics().dropped == {"missing.pt": 1}


def test_media_lie_beside_the_journal(start: Start) -> None:
    """A media object becomes a file in the run's folder and a record that names it, at the call's step."""
    run = start()

    run.log({"sample": runcast.Text("größe"), "loss": 0.5}, step=3)

    (record,) = records(run, Media)
    assert (record.key, record.step, record.kind) == ("sample", 3, "text")
    assert (run.dir / record.path).read_text() == "größe"
    assert logged(run) == [("loss", 0.5, 3)]


def test_media_that_cannot_be_saved_cost_no_numbers(start: Start) -> None:
    """A picture with values that are none is counted, and the numbers beside it are logged."""
    run = start()

    run.log({"picture": runcast.Image([[["a", "b"]]]), "loss": 0.5}, step=0)

    assert logged(run) == [("loss", 0.5, 0)]
    assert list(run.statistics().dropped) == ["picture"]


def test_a_list_of_media_of_one_key_is_several_media(start: Start) -> None:
    """As W&B's users write it: each is a file and a record of that key; what is no media among them is counted."""
    run = start()
    picture = np.zeros((2, 3), "uint8")

    run.log({"samples": [runcast.Image(picture), runcast.Image(picture + 9)], "loss": 0.5}, step=4)
    run.log({"samples": (runcast.Text("a"), 5), "one": [runcast.Text("b")]}, step=5)

    assert [(record.key, record.kind, record.step) for record in records(run, Media)] == [
        *[("samples", "image", 4)] * 2,
        *(("samples", "text", 5), ("one", "text", 5)),
    ]
    assert len(set((run.dir / "media").iterdir())) == 4
    assert logged(run) == [("loss", 0.5, 4)]
    assert run.statistics().dropped == {"samples": 1}
    assert records(run, Dropped)[0].reason == (
        "is a list of media that also holds something else. Log that under a key of its own"
    )


# What is no metric


def test_what_is_no_number_is_counted_and_told_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Texts, None and lists among the metrics are counted each time, reported once per key, and the rest is logged."""
    run = start()

    for step in range(3):
        run.log({"loss": 0.5, "word": b"text", "nothing": None, "list": [1]}, step=step)

    assert run.statistics().dropped == {"word": 3, "nothing": 3, "list": 3}
    assert [(record.key, record.reason) for record in records(run, Dropped)] == [
        ("word", "is a bytes. Decode it and wrap it in runcast.Text to keep it"),
        ("nothing", "is None. Leave it out, or log float('nan')"),
        ("list", "is a list. Log its mean, or wrap it in runcast.Histogram to keep it"),
    ]
    assert len(caplog.messages) == 3
    assert caplog.messages[0] == (
        "1 value was dropped: 'word' is a bytes. Decode it and wrap it in runcast.Text to keep it. "
        "Further ones are only counted."
    )
    assert len(logged(run)) == 3


def test_a_value_whose_reason_changes_is_told_once(start: Start) -> None:
    """A tensor that has another size at every step is one report, not thousands."""
    run = start()

    for size in range(2, 50):
        run.log({"batch": np.zeros(size)}, step=size)

    assert len(records(run, Dropped)) == 1
    assert run.statistics().dropped == {"batch": 48}


@pytest.mark.parametrize("values", [None, "loss", 5, [("loss", 0.5)], {"loss"}, object()])
def test_what_is_no_mapping_is_counted(values: Any, start: Start) -> None:
    """A call of `log` with something else than a mapping is reported and does not raise."""
    run = start()

    run.log(values, step=0)
    run.log({"loss": 0.5}, step=1)

    assert logged(run) == [("loss", 0.5, 1)]
    assert run.statistics().dropped == {"log": 1}


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5),
        st.complex_numbers(), st.decimals(), st.fractions(), st.dates(), st.builds(object), st.builds(np.float16, st.floats(width=16)),
        st.builds(np.zeros, st.integers(0, 3)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), inner, max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip
KEYS = st.one_of(
    st.text(st.characters(), max_size=6),
    st.integers(),
    st.none(),
    st.floats(),
    st.tuples(st.integers()),
    st.binary(max_size=3),
)


@settings(max_examples=150)
@given(
    values=st.one_of(ANYTHING, st.dictionaries(KEYS, ANYTHING, max_size=4)),
    step=st.one_of(ANYTHING, st.integers(0, 100)),
)
def test_nothing_that_is_logged_can_raise(values: Any, step: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever a script logs, at whatever step: nothing is raised, and every line of the journal can be read."""
    run = runcast.init(dir=tmp_path_factory.mktemp("runs"), report_to=None)

    run.log(values, step)
    run.log_params(values)
    run.log_summary({"x": values})
    run.finish()

    reader = JournalReader(run.dir / "journal.jsonl")
    found = list(reader)
    assert reader.damaged == 0
    assert isinstance(found[-1], Finish)
    for record in found:
        if isinstance(record, Metrics):
            points(record)


# Device values


class Unreadable:
    """Stands for the copy of a device tensor that is still under way: reading it early would be a synchronisation."""

    def __init__(self, value: float) -> None:
        self.value, self.arrived = value, False

    def item(self) -> float:
        assert self.arrived, "read before it was ready"
        return self.value


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> list[Unreadable]:
    """Make every `Unreadable` that is logged a device value."""
    monkeypatch.setattr(
        run_module,
        "start_copy",
        lambda value: DeviceValue(value, lambda: value.arrived) if isinstance(value, Unreadable) else None,
    )
    return [Unreadable(number / 4) for number in range(3)]


def test_a_device_value_is_not_read_before_it_has_arrived(devices: list[Unreadable], start: Start) -> None:
    """A tensor on a device costs no waiting: its point follows with a later call, at its own step and time."""
    run = start()

    run.log({"loss": devices[0], "lr": 0.5}, step=0)
    run.log({"loss": devices[1]}, step=1)
    assert logged(run) == [("lr", 0.5, 0)]

    devices[0].arrived = True
    run.log({"lr": 0.25}, step=2)
    assert logged(run) == [("lr", 0.5, 0), ("loss", 0.0, 0), ("lr", 0.25, 2)]
    times = [record.time for record in records(run, Metrics)]
    assert times[0] == times[1] < times[2]


def test_the_last_device_values_are_waited_for(devices: list[Unreadable], start: Start) -> None:
    """The end of the run waits for values that are on their way."""
    run = start()
    run.log({"loss": devices[2]}, step=0)
    threading.Timer(0.05, lambda: setattr(devices[2], "arrived", True)).start()

    run.finish()

    assert logged(run) == [("loss", 0.5, 0)]
    assert run.statistics().logged == 1


def test_device_values_without_steps_are_counted(devices: list[Unreadable], start: Start) -> None:
    """Values on their way count as calls: each call has its own step."""
    run = start()
    for value in devices:
        run.log({"loss": value})
        value.arrived = True

    run.finish()

    assert logged(run) == [("loss", 0.0, 0), ("loss", 0.25, 1), ("loss", 0.5, 2)]


@pytest.mark.gpu
def test_logging_cuda_tensors_never_synchronises(start: Start) -> None:
    """With CUDA's synchronisation checks set to raise, device tensors are logged, and have their values in the end."""
    run = start()
    value = torch.arange(100, device="cuda", dtype=torch.float32)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(100):
            run.log({"loss": value[step]}, step=step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    run.finish()

    assert sorted(logged(run), key=lambda point: point[2]) == [("loss", float(step), step) for step in range(100)]


# How it ends


def test_finishing_again_changes_nothing(start: Start) -> None:
    """The first `finish` counts."""
    run = start()

    run.finish("failed", error="trace")
    run.finish("finished")

    assert [(record.status, record.error) for record in records(run, Finish)] == [("failed", "trace")]
    assert run.status == "failed"


def test_a_wrong_status_is_an_error_and_does_not_end_the_run(start: Start) -> None:
    """A status that no tracker knows raises with the valid ones, and the run can still be finished."""
    run = start()

    with pytest.raises(
        OptionError, match=r"status='done' is unknown\. Valid values are: finished, failed, killed, crashed"
    ):
        run.finish("done")  # type: ignore[arg-type]
    run.finish("killed")

    assert [record.status for record in records(run, Finish)] == ["killed"]


def test_logging_after_the_end_is_told_once(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What is logged after `finish` is counted; one message says how to go on with the run."""
    run = start(id="over")
    run.finish()
    lines = len(records(run))

    for step in range(3):
        run.log({"loss": 0.5}, step=step)
    run.log_params({"a": 1})
    run.log_artifact("x")
    run.add_tags("t")

    assert len(records(run)) == lines
    assert run.statistics().dropped == {"log": 6}
    assert len(caplog.messages) == 1
    assert "init(id='over', resume='allow')" in caplog.messages[0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"), (ValueError("größe"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(3), "failed"),
        (SystemExit(0), "finished"), (SystemExit(), "finished"),
    ],
    ids=repr,
)  # fmt: skip
def test_leaving_the_with_block_ends_the_run_as_it_went(error: BaseException | None, status: str, start: Start) -> None:
    """The status is finished, failed or killed by how the block was left; the exception goes on to the caller."""
    run = start()

    def train() -> None:
        with run:
            if error is not None:
                raise error

    if error is None:
        train()
    else:
        with pytest.raises(type(error)):
            train()

    (finish,) = records(run, Finish)
    assert finish.status == status
    assert (finish.error is not None) == (status in ("failed", "killed"))
    if isinstance(error, ValueError):
        assert "ValueError: größe" in finish.error


def test_a_secret_in_a_traceback_is_redacted(start: Start) -> None:
    """The traceback of a failed run is searched for secrets like everything else."""
    run = start()

    with pytest.raises(RuntimeError), run:
        raise RuntimeError("cannot open https://user:hunter2secret@example.org/data")

    assert "hunter2secret" not in (run.dir / "journal.jsonl").read_text()


# Several threads, processes, runs


def test_threads_may_log_at_once(start: Start) -> None:
    """Eight threads that log two hundred points each, numbers and texts, lose none."""
    run = start()

    def work(number: int) -> None:
        for step in range(200):
            run.log({f"thread{number}": step, "nan": math.nan if step % 2 else 0.5, "word": "x"}, step=step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found = [(key, step) for key, _, step in logged(run) if key != "nan"]
    assert sorted(found) == sorted((f"thread{number}", step) for number in range(8) for step in range(200))
    assert sum(1 for key, _, _ in logged(run) if key == "nan") == 1600


def test_two_runs_at_once_do_not_mix(start: Start) -> None:
    """A process may have several runs; each has its own folder, steps and end."""
    with start(name="one") as one, start(name="two") as two:
        for step in range(3):
            one.log({"loss": 0.5}, step=step)
            two.log({"loss": 0.25})
        two.finish("failed")

    assert logged(one) == [("loss", 0.5, 0), ("loss", 0.5, 1), ("loss", 0.5, 2)]
    assert logged(two) == [("loss", 0.25, 0), ("loss", 0.25, 1), ("loss", 0.25, 2)]
    assert (one.status, two.status) == ("finished", "failed")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_may_log_and_does_not_end_the_run(start: Start) -> None:
    """A data loader's worker that inherits the run can log into it; its end is not the run's end."""
    run = start()
    run.log({"parent": 1}, step=0)

    child = os.fork()
    if not child:
        try:
            run.log({"child": 2}, step=1)
            run.finish("failed")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    run.log({"parent": 3}, step=2)
    run.finish()

    assert logged(run) == [("parent", 1, 0), ("child", 2, 1), ("parent", 3, 2)]
    assert [record.status for record in records(run, Finish)] == ["finished"]


def test_a_pickled_run_takes_everything_and_writes_nothing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An object that holds a run can be sent to another process; that the copy there logs is reported once."""
    run = start(config={"lr": 0.5})
    size = (run.dir / "journal.jsonl").stat().st_size

    sent = pickle.loads(pickle.dumps(run))
    assert (sent.id, sent.name, sent.config, sent.dir) == (run.id, run.name, run.config, run.dir)
    sent.log({"loss": 0.5}, step=0)
    sent.log({"loss": "text"})
    sent.log_params({"a": 1})
    sent.log_summary({"a": 1})
    sent.log_artifact("missing")
    sent.add_tags("t")
    assert sent.flush(0.1)
    sent.finish()

    assert (run.dir / "journal.jsonl").stat().st_size == size
    assert sent.statistics().dropped["log"] == 6
    (told,) = caplog.messages
    assert f"was called on a copy of the run {run.id}, which writes nothing. Log in the process that began" in told


def test_a_copied_object_holds_the_same_run(start: Start) -> None:
    """A trainer that is copied logs into the run that it has logged into before."""
    run = start()

    assert copy.copy(run) is run
    assert copy.deepcopy({"run": run})["run"] is run


def test_what_a_run_says_of_itself(start: Start) -> None:
    """A run has an id, a name, a project, a folder, a config and a step; printing it says how it is."""
    run = start(id="abc", name="lucky", config={"lr": 0.5})
    run.log({"loss": 0.5}, step=9)

    assert (run.id, run.name, run.project, run.config, run.step, run.urls) == (
        "abc",
        "lucky",
        "test",
        {"lr": 0.5},
        9,
        {},
    )
    assert repr(run) == f"<Run 'lucky' abc in {run.dir}: running>"
    assert run.statistics().logged == 1
    assert run.flush(0.1) is True
