"""Every record is one line of JSON, and comes back as it was."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from runcast.journal.records import (
    AnyRecord,
    Artifact,
    Dropped,
    Finish,
    Media,
    Metrics,
    Params,
    Start,
    Summary,
    Tags,
    decode,
    encode,
    points,
)
from runcast.values.points import Point
from runcast.values.scalars import encodable

RECORDS: list[tuple[AnyRecord, dict[str, Any]]] = [
    (
        Start(time=1.5, version=1, session=2, host="node", pid=3),
        {"type": "start", "time": 1.5, "version": 1, "session": 2, "host": "node", "pid": 3},
    ),
    (
        Metrics(time=1.5, step=7, values={"loss": 0.25, "n": 3, "bad": "NaN"}),
        {"type": "metrics", "time": 1.5, "step": 7, "values": {"loss": 0.25, "n": 3, "bad": "NaN"}, "by": None},
    ),
    (
        Metrics(time=1.5, step=-1, values={"energy": 1e-9}, by="codecarbon"),
        {"type": "metrics", "time": 1.5, "step": -1, "values": {"energy": 1e-9}, "by": "codecarbon"},
    ),
    (
        Params(time=1.5, values={"lr": 0.1, "name": "bert", "n": 1, "flag": True, "none": None}),
        {"type": "params", "time": 1.5, "values": {"lr": 0.1, "name": "bert", "n": 1, "flag": True, "none": None}},
    ),
    (
        Summary(time=1.5, values={"best": 0.9, "which": "last", "ok": False}),
        {"type": "summary", "time": 1.5, "values": {"best": 0.9, "which": "last", "ok": False}, "by": None},
    ),
    (
        Summary(time=1.5, values={"energy": 1e-9}, by="codecarbon"),
        {"type": "summary", "time": 1.5, "values": {"energy": 1e-9}, "by": "codecarbon"},
    ),
    (Tags(time=1.5, tags=["a", "é"]), {"type": "tags", "time": 1.5, "tags": ["a", "é"]}),
    (
        Media(time=1.5, key="x", step=7, kind="image", path="media/x.png", caption="a 3"),
        {
            "type": "media",
            "time": 1.5,
            "key": "x",
            "step": 7,
            "kind": "image",
            "path": "media/x.png",
            "caption": "a 3",
        },
    ),
    (
        Artifact(time=1.5, name="model", kind="model", path="artifacts/1/model.pt", size_bytes=2**40),
        {
            "type": "artifact",
            "time": 1.5,
            "name": "model",
            "kind": "model",
            "path": "artifacts/1/model.pt",
            "size_bytes": 2**40,
        },
    ),
    (
        Dropped(time=1.5, key="x", reason="is None"),
        {"type": "dropped", "time": 1.5, "key": "x", "reason": "is None", "count": 1},
    ),
    (
        Finish(time=1.5, status="failed", error="Traceback\n  …"),
        {"type": "finish", "time": 1.5, "status": "failed", "error": "Traceback\n  …", "dropped": 0},
    ),
]
BY_TYPE = pytest.mark.parametrize(("record", "content"), RECORDS, ids=[content["type"] for _, content in RECORDS])


@BY_TYPE
def test_a_record_comes_back_as_it_was(record: AnyRecord, content: dict[str, Any]) -> None:
    """Encoding and decoding are each other's inverse, for every type of record."""
    assert decode(encode(record)) == record


@BY_TYPE
def test_a_record_is_one_line_that_any_json_reader_reads(record: AnyRecord, content: dict[str, Any]) -> None:
    """A journal needs no tool of ours: each line is a JSON object with its fields by name."""
    line = encode(record)

    assert b"\n" not in line
    assert json.loads(line) == content


@BY_TYPE
def test_a_record_of_a_later_version_can_still_be_read(record: AnyRecord, content: dict[str, Any]) -> None:
    """A field that this version does not know is passed over."""
    assert decode(json.dumps({**content, "added_later": {"a": [1]}}).encode()) == record


def test_a_journal_is_a_table_for_pandas(tmp_path: Any) -> None:
    """`pandas.read_json(lines=True)` reads it, one row a record."""
    pandas = pytest.importorskip("pandas")
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(encode(record) + b"\n" for record, _ in RECORDS))

    frame = pandas.read_json(journal, lines=True)

    assert list(frame["type"]) == [content["type"] for _, content in RECORDS]
    assert list(frame.loc[frame["type"] == "metrics", "step"]) == [7, -1]
    assert frame.loc[1, "values"] == {"loss": 0.25, "n": 3, "bad": "NaN"}


def test_floats_that_are_not_finite_are_words_in_the_file_and_floats_again_in_points() -> None:
    """NaN and the infinities are kept, though JSON has no word for them."""
    values = {
        name: encodable(number)
        for name, number in {"a": float("nan"), "b": float("inf"), "c": float("-inf"), "d": 0.1, "e": 2}.items()
    }
    record = Metrics(time=1.5, step=7, values=values)

    a, b, c, d, e = points(decode(encode(record)))  # type: ignore[arg-type]

    assert values == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.1, "e": 2}
    assert a.value != a.value
    assert b == Point("b", float("inf"), 7, 1.5)
    assert c == Point("c", float("-inf"), 7, 1.5)
    assert d == Point("d", 0.1, 7, 1.5)
    assert e == Point("e", 2, 7, 1.5)
    assert type(e.value) is int


def test_points_keep_the_order_in_which_they_were_logged() -> None:
    """The first key that was logged is the first point."""
    record = Metrics(time=1.5, step=7, values={"z": 1, "a": 2, "m": 3})

    assert [point.key for point in points(record)] == ["z", "a", "m"]


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b'{"type":"nothing","time":1}', b'{"type":"metrics"', b"\xff"])
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    """A damaged line is an error, which the reader of a journal counts; it is never taken for something else."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode(line)


NUMBERS = st.floats() | st.integers(-(2**63), 2**63 - 1)


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), NUMBERS), st.integers(-(2**62), 2**62))
def test_any_numbers_come_back_bit_by_bit(values: dict[str, float | int], step: int) -> None:
    """A float keeps all of its 64 bits and an int stays an int, under any key and at any step."""
    record = Metrics(time=0.0, step=step, values={key: encodable(value) for key, value in values.items()})

    read = points(decode(encode(record)))  # type: ignore[arg-type]

    assert [repr(point.value) for point in read] == [repr(value) for value in values.values()]
    assert [(point.key, point.step) for point in read] == [(key, step) for key in values]
