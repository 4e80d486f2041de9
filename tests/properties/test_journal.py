"""Whatever happens to a journal's file: what is whole is read, once and in order, and what is not is counted."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from runcast.journal import file as module
from runcast.journal.file import Journal
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Dropped, Finish, Metrics, Params, Summary, Tags, encode_line
from tests.properties.conftest import examples

WORDS = st.text(max_size=12)
TIMES = st.floats(0, 4e9)
RECORDS = st.one_of(
    st.builds(
        Metrics,
        time=TIMES,
        step=st.integers(-(2**63), 2**63 - 1),
        values=st.dictionaries(WORDS, st.floats(allow_nan=False, allow_infinity=False) | st.just("NaN"), max_size=4),
    ),
    st.builds(Params, time=TIMES, values=st.dictionaries(WORDS, st.none() | st.booleans() | WORDS, max_size=3)),
    st.builds(Summary, time=TIMES, values=st.dictionaries(WORDS, WORDS | st.booleans(), max_size=3)),
    st.builds(Tags, time=TIMES, tags=st.lists(WORDS, max_size=3)),
    st.builds(Dropped, time=TIMES, key=WORDS, reason=WORDS),
    st.builds(Finish, time=TIMES, status=st.sampled_from(["finished", "failed"]), error=st.none() | WORDS),
)
MANY = st.lists(RECORDS, min_size=1, max_size=12)
NOISE = st.binary(max_size=20).map(lambda noise: noise.replace(b"\n", b""))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Name one file, which each example writes anew."""
    return tmp_path_factory.mktemp("journal") / "journal.jsonl"


def written(records: list[AnyRecord]) -> list[bytes]:
    """Encode records as the lines that a run writes."""
    return [encode_line(record) for record in records]


def read(path: Path, max_bytes: int = 2**20) -> tuple[list[AnyRecord], int]:
    """Read all records; return them, and how many lines were none."""
    reader = JournalReader(path)
    records: list[AnyRecord] = []
    while batch := reader.read(max_bytes):
        records += [record for record, _ in batch]
    return records, reader.damaged


@examples()
@given(MANY, st.data())
def test_a_journal_that_is_cut_anywhere_keeps_what_is_whole(
    path: Path, records: list[Any], data: st.DataObject
) -> None:
    """A cut costs the record that it hits and no other; a session that goes on behind it counts that one."""
    lines = written(records)
    text = b"".join(lines)
    cut = data.draw(st.integers(0, len(text)))
    path.write_bytes(text[:cut])
    whole = [record for number, record in enumerate(records) if len(b"".join(lines[: number + 1])) <= cut]
    torn = text[:cut].rpartition(b"\n")[2]

    before = read(path)
    journal = Journal(path)
    journal.append(lines[0])
    journal.close()
    after = read(path)

    all_but_newline = torn in [line[:-1] for line in lines] if torn else False
    saved = [records[len(whole)]] if all_but_newline else []
    assert before == (whole, 0)
    assert after == ([*whole, *saved, records[0]], 1 if torn and not saved else 0)


@examples()
@given(
    MANY,
    st.lists(
        st.tuples(
            st.integers(0, 100),
            st.sampled_from(["noise", "flip", "cut", "blank"]),
            NOISE,
            st.integers(0, 200),
            st.integers(1, 255),
        ),
        max_size=5,
    ),
)
def test_a_damaged_line_costs_itself_only(path: Path, records: list[Any], damages: list[Any]) -> None:
    """Garbage between lines, flipped bytes, missing parts and blank lines: all other records come, in order."""
    lines = written(records)
    touched: set[int] = set()
    extra: list[tuple[int, bytes]] = []
    for where, how, noise, at, mask in damages:
        number = where % len(lines)
        if how == "noise":
            extra.append((number, b"!" + noise + b"\n"))
        elif how == "blank":
            extra.append((number, b"  \n"))
        else:
            line = bytearray(lines[number][:-1])
            at %= max(1, len(line))
            if how == "flip" and line:
                line[at] ^= mask
            else:
                del line[at:]
            lines[number] = bytes(line).replace(b"\n", b"?") + b"\n"
            touched.add(number)
    for number, noise in sorted(extra, reverse=True):
        lines.insert(number, noise)
    path.write_bytes(b"".join(lines))

    found, damaged = read(path)

    untouched = [record for number, record in enumerate(records) if number not in touched]
    rest = iter(found)
    assert all(any(record == other for other in rest) for record in untouched)  # a subsequence
    assert len(found) + damaged <= len(lines)
    assert damaged >= sum(noise.startswith(b"!") for _, noise in extra)


@examples()
@given(st.binary(max_size=400))
def test_a_file_that_is_no_journal_is_read_without_an_error(path: Path, content: bytes) -> None:
    """Any bytes at all are lines that are counted; the reader gets to the end of the last whole one."""
    path.write_bytes(content)
    reader = JournalReader(path)

    records = list(reader)

    assert records == []
    assert reader.offset == content.rfind(b"\n") + 1
    assert reader.damaged == sum(bool(line.strip()) for line in content[: reader.offset].split(b"\n"))


@examples()
@given(MANY, st.integers(1, 300), st.integers(1, 300))
def test_a_journal_reads_alike_in_chunks_of_any_size(path: Path, records: list[Any], first: int, second: int) -> None:
    """What is read does not depend on how much is read at a time, nor on where a reader begins again."""
    path.write_bytes(b"".join(written(records)))

    reader = JournalReader(path)
    beginning = reader.read(first)
    rest: list[Any] = []
    again = JournalReader(path, reader.offset)
    while batch := again.read(second):
        rest += batch

    assert [record for record, _ in (*beginning, *rest)] == records
    assert again.offset == path.stat().st_size


class Disk:
    """Writes as a disk does that has room now and then: as many bytes of each call as the plan says, or an error."""

    def __init__(self, plan: list[int | None]) -> None:
        self._plan: Iterator[int | None] = iter(plan)

    def write(self, descriptor: int, data: bytes) -> int:
        """Write a part of the data, all of it when the plan is over."""
        size = next(self._plan, 10**9)
        if size is None:
            raise OSError(28, "No space left on device")
        return os.write(descriptor, data[:size])

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@examples()
@given(MANY, st.lists(st.none() | st.integers(0, 60), max_size=20), st.integers(0, 12))
def test_a_disk_that_is_full_now_and_then_loses_nothing(
    path: Path, records: list[Any], plan: list[int | None], retries: int
) -> None:
    """Whatever part of each write the disk takes, each record is there once and in order when it has room again."""
    path.unlink(missing_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNCAST_QUIET", "1")
        patch.setattr(module, "warn", lambda message: None)
        journal = Journal(path)
        patch.setattr(module, "os", Disk(plan))
        for number, line in enumerate(written(records)):
            journal.append(line)
            if number == retries:
                journal.drain()
        while not journal.drain():
            pass
        journal.close()

    found, _ = read(path)

    assert found == records
    assert journal.lost_records == 0
