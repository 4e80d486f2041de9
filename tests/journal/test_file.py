"""The journal keeps every record that was whole, whatever happens to the file around it."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from runcast.journal.file import Journal, append_lines
from runcast.journal.reader import JournalReader
from runcast.journal.records import Dropped, Finish, Metrics, Params, Start, Summary, Tags, decode, encode, points

LINES = [encode(Metrics(time=1.5, step=step, values={"loss": step / 2, "NaN": "NaN"})) + b"\n" for step in range(8)]


def steps_of(path: Path) -> list[int]:
    """List the steps of a journal's metrics."""
    return [record.step for record in JournalReader(path) if isinstance(record, Metrics)]


def test_a_record_is_a_line_of_json(tmp_path: Path) -> None:
    """What is appended can be read by anything that reads JSON lines."""
    journal = Journal(tmp_path / "journal.jsonl")

    journal.append(encode(Metrics(time=1.5, step=3, values={"loss": 0.25, "grad": "Infinity"})) + b"\n")
    journal.close()

    lines = (tmp_path / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"type": "metrics", "time": 1.5, "step": 3, "values": {"loss": 0.25, "grad": "Infinity"}, "by": None}
    ]


def test_every_kind_of_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    """Each record survives the way through the file."""
    records = [
        Start(time=1.0, version=1, session=1, host="h", pid=7),
        Params(time=1.0, values={"lr": 0.5, "name": "größe", "none": None, "flag": True}),
        Metrics(time=1.0, step=-3, values={"": 2**53 + 1}, by="meter"),
        Summary(time=1.0, values={"best": "yes"}),
        Tags(time=1.0, tags=["a", "b"]),
        Dropped(time=1.0, key="k", reason="r"),
        Finish(time=1.0, status="killed", error="trace"),
    ]
    (tmp_path / "journal.jsonl").write_bytes(b"".join(encode(record) + b"\n" for record in records))

    assert list(JournalReader(tmp_path / "journal.jsonl")) == records


@pytest.mark.damages_journals
@settings(max_examples=150)
@given(cut=st.integers(0, sum(map(len, LINES))))
def test_whatever_is_cut_off_the_whole_records_before_it_stay(cut: int, tmp_path: Path) -> None:
    """A journal that was cut anywhere has all records that were whole before the cut, and no others."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(LINES)[:cut])
    whole = sum(1 for index in range(8) if sum(map(len, LINES[: index + 1])) <= cut)

    reader = JournalReader(path)

    assert [record.step for record in reader if isinstance(record, Metrics)] == list(range(whole))
    assert reader.damaged == 0


@pytest.mark.damages_journals
@settings(max_examples=100)
@given(cut=st.integers(0, sum(map(len, LINES))))
def test_a_session_after_a_cut_loses_none_of_its_own_records(cut: int, tmp_path: Path) -> None:
    """A journal whose last line was cut takes the next session's records whole; the cut line counts as damaged."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(LINES)[:cut])
    whole = sum(1 for index in range(8) if sum(map(len, LINES[: index + 1])) <= cut)

    journal = Journal(path)
    journal.append(encode(Metrics(time=2.0, step=100, values={})) + b"\n")
    journal.close()

    # A cut that took only the newline leaves a whole record, which counts.
    assert steps_of(path) in ([*range(whole), 100], [*range(whole + 1), 100])


NO_RECORD = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=30).map(str.encode),
    st.sampled_from(
        [
            b"{}",
            b"null",
            b"[]",
            b'{"type":"metrics"}',
            b'{"type":"unknown","time":1}',
            b'{"type":"metrics","time":1,"step":0,"values":{"a":"b"}}',
            b"\0" * 40,
        ]
    ),
    st.sampled_from(
        [
            b'{"type":"finish","time":1,"status":"done"}',
            b'{"type":"tags","time":1,"tags":[1]}',
            b'{"type":"tags","x":' + b"[" * 3000,
            b"\xff\xfe",
        ]
    ),
).map(lambda garbage: garbage.replace(b"\n", b" ").replace(b"\r", b" "))


@pytest.mark.damages_journals
@settings(max_examples=200)
@given(
    garbage=st.lists(st.tuples(st.integers(0, 8), NO_RECORD), max_size=6), chunk=st.sampled_from([16, 100, 4096, 2**22])
)
def test_garbage_between_records_costs_none_of_them(
    garbage: list[tuple[int, bytes]], chunk: int, tmp_path: Path
) -> None:
    """Lines that are no records are counted and skipped, wherever they stand; every record is read."""
    path = tmp_path / "journal.jsonl"
    lines = list(LINES)
    for place, text in sorted(garbage, reverse=True):
        lines.insert(place, text + b"\n")
    path.write_bytes(b"".join(lines))

    reader, steps = JournalReader(path), []
    while batch := reader.read(chunk):
        steps += [record.step for record, _ in batch if isinstance(record, Metrics)]

    assert steps == [0, 1, 2, 3, 4, 5, 6, 7]
    assert reader.damaged == sum(1 for _, text in garbage if text.strip())
    assert reader.offset == path.stat().st_size


@pytest.mark.damages_journals
@settings(max_examples=100)
@given(place=st.integers(0, sum(map(len, LINES)) - 1), byte=st.integers(0, 255))
def test_a_flipped_byte_costs_at_most_the_two_lines_beside_it(place: int, byte: int, tmp_path: Path) -> None:
    """A damaged byte costs the record that it is in, or two if it was the newline; reading never fails."""
    data = bytearray(b"".join(LINES))
    data[place] = byte
    (tmp_path / "journal.jsonl").write_bytes(data)

    found = [record for record in JournalReader(tmp_path / "journal.jsonl") if isinstance(record, Metrics)]

    assert len(found) >= 6
    for record in found:
        points(record)


def test_every_offset_is_a_place_to_go_on_from(tmp_path: Path) -> None:
    """Reading from the offset behind any record gives exactly the records after it."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(LINES))

    offsets = [offset for _, offset in JournalReader(path).read()]

    assert [len(JournalReader(path, offset).read()) for offset in offsets] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_a_reader_that_follows_sees_a_record_when_it_is_whole(tmp_path: Path) -> None:
    """A line that is still being written is read later, once."""
    path = tmp_path / "journal.jsonl"
    reader = JournalReader(path)
    path.write_bytes(LINES[0] + LINES[1][:20])
    assert len(reader.read()) == 1
    assert reader.read() == []

    path.write_bytes(LINES[0] + LINES[1])

    assert [record.step for record, _ in reader.read() if isinstance(record, Metrics)] == [1]
    assert reader.read() == []


def test_a_line_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    """A record of any length arrives, in however small pieces the file is read."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode(Params(time=1.0, values={"text": "x" * 10_000})) + b"\n" + LINES[0])

    reader = JournalReader(path)

    assert [type(record).__name__ for _ in range(2) for record, _ in reader.read(100)] == ["Params", "Metrics"]


def test_threads_may_append_at_once(tmp_path: Path) -> None:
    """Eight threads that append at the same time write each record whole, once."""
    journal = Journal(tmp_path / "journal.jsonl")

    def write(number: int) -> None:
        for step in range(200):
            journal.append(encode(Metrics(time=1.0, step=number * 1000 + step, values={"x" * 300: 1})) + b"\n")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()

    assert sorted(steps_of(journal.path)) == [number * 1000 + step for number in range(8) for step in range(200)]


def _write_from_process(path: Path, number: int) -> None:
    journal = Journal(path)
    for step in range(200):
        journal.append(encode(Metrics(time=1.0, step=number * 1000 + step, values={"x" * 300: 1})) + b"\n")
    journal.close()


def test_processes_may_append_at_once(tmp_path: Path) -> None:
    """Several processes of a machine that append at the same time write each record whole, once."""
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=_write_from_process, args=(tmp_path / "journal.jsonl", number)) for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()

    assert sorted(steps_of(tmp_path / "journal.jsonl")) == [
        number * 1000 + step for number in range(3) for step in range(200)
    ]


def test_a_line_that_another_process_is_writing_is_no_cut_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file grows page by page: who opens it in the middle of a line waits for the rest, and adds no empty line."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a":')

    def write_the_rest(_: float) -> None:
        with path.open("ab") as file:
            file.write(b"1}\n")

    monkeypatch.setattr("runcast.journal.file.time.sleep", write_the_rest)

    journal = Journal(path)
    journal.append(b'{"b":2}\n')
    journal.close()

    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n'


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from runcast.journal import file as module
from runcast.journal.records import Metrics, encode

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
module.RETRY_S = 0.0
if sys.argv[2:] == ["small"]:
    module.BACKLOG_BYTES = 500
journal = module.Journal(Path(sys.argv[1]))
for step in range(40):
    journal.append(encode(Metrics(time=1.0, step=step, values={"loss": 0.5})) + b"\\n")
print(journal.drain(), Path(sys.argv[1]).stat().st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.drain(), journal.lost_records)
journal.append(encode(Metrics(time=1.0, step=40, values={"loss": 0.5})) + b"\\n")
journal.close()
"""


@pytest.mark.damages_journals
def test_records_wait_in_memory_while_the_disk_is_full(tmp_path: Path) -> None:
    """A file that cannot grow raises nothing; every record is written when there is room again; the user is told twice."""
    path = tmp_path / "journal.jsonl"

    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == "False 1000\nTrue 0\n"
    assert steps_of(path) == list(range(41))
    told = done.stderr.splitlines()
    assert len(told) == 2
    assert "cannot be written" in told[0]
    assert "Free some disk space" in told[0]
    assert "can be written again; 0 records were lost" in told[1]


@pytest.mark.damages_journals
def test_what_does_not_fit_into_memory_either_is_counted(tmp_path: Path) -> None:
    """While the disk stays full the oldest waiting records give way, and how many is known."""
    path = tmp_path / "journal.jsonl"

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path), "small"], capture_output=True, text=True, check=True
    )

    lost = int(done.stdout.split()[-1])
    steps = steps_of(path)
    assert lost > 0
    assert len(steps) + lost == 41
    assert steps[-1] == 40
    assert f"{lost} records were lost" in done.stderr


def test_a_signal_handler_may_log_while_waiting_records_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It interrupts the thread that holds the lock; its record comes behind those that wait."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal._keep(b'{"a":1}\n', OSError("the disk is full"))

    def interrupted(descriptor: int, lines: bytes) -> bytes:
        monkeypatch.undo()
        journal.append(b'{"b":2}\n')
        return lines

    monkeypatch.setattr("runcast.journal.file.whole_lines", interrupted)
    journal.drain()
    journal.close()

    assert journal.path.read_bytes() == b'{"a":1}\n{"b":2}\n'


FORKED = """
import os, resource, signal, sys
from pathlib import Path
from runcast.journal import file as module
from runcast.journal.records import Metrics, encode

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
module.RETRY_S = 0.0
journal = module.Journal(Path(sys.argv[1]))
def append(steps):
    for step in steps:
        journal.append(encode(Metrics(time=1.0, step=step, values={"loss": 0.5})) + b"\\n")
append(range(20))
child = os.fork()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if not child:
    journal.after_fork()
    append(range(100, 103))
    os._exit(0)
os.waitpid(child, 0)
append(range(20, 23))
journal.close()
"""


@pytest.mark.damages_journals
def test_a_fork_on_a_full_disk_writes_its_own_records_only(tmp_path: Path) -> None:
    """What waits in memory is there twice after a fork, and is the parent's to write."""
    path = tmp_path / "journal.jsonl"

    subprocess.run([sys.executable, "-c", FORKED, str(path)], check=True)

    assert sorted(steps_of(path)) == [*range(23), 100, 101, 102]


RESCUED = """
import os, sys
from pathlib import Path
from runcast.journal import file as module
from runcast.journal.records import Metrics, encode

journal = module.Journal(Path(sys.argv[1]))
lines = [encode(Metrics(time=1.0, step=step, values={"loss": 0.5})) + b"\\n" for step in range(3)]
journal.append(lines[0])
os.dup2(os.open("/dev/full", os.O_RDWR), journal._fd)
journal.append(lines[1])
journal.append(lines[2])
journal.close()
print(journal.lost_records)
"""


def test_what_a_full_disk_never_took_is_kept_in_another_folder(tmp_path: Path) -> None:
    """When the run ends before there is room again, the rest is in the temporary folder, with the command to add it."""
    path, temporary = tmp_path / "a run" / "journal.jsonl", tmp_path / "temporary"
    path.parent.mkdir()
    temporary.mkdir()

    done = subprocess.run(
        [sys.executable, "-c", RESCUED, str(path)],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
    )
    command = done.stderr.partition("When there is space again, append them with: ")[2]
    subprocess.run(command, shell=True, check=True)

    assert done.stdout == "0\n"
    assert "2 records did not fit" in done.stderr
    assert steps_of(path) == [0, 1, 2]
    assert [file.stat().st_mode & 0o777 for file in temporary.iterdir()] == [0o600]


@pytest.mark.parametrize("loss", ["closed", "stale"])
def test_a_file_that_is_lost_is_opened_again(loss: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons close every open file, and a network share forgets its files when its server restarts."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(LINES[0])
    if loss == "closed":
        os.close(journal._fd)
    else:
        write, lost = os.write, journal._fd

        def stale(descriptor: int, data: bytes) -> int:
            if descriptor == lost:
                raise OSError(errno.ESTALE, "Stale file handle")
            return write(descriptor, data)

        monkeypatch.setattr(os, "write", stale)

    journal.append(LINES[1])
    journal.close()

    assert (tmp_path / "journal.jsonl").read_bytes() == LINES[0] + LINES[1]
    assert journal.lost_records == 0


def test_a_closed_journal_writes_into_no_other_file(tmp_path: Path) -> None:
    """A thread that logs while the run ends cannot write into a file that has got the journal's descriptor since."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.close()
    descriptors = [os.open(tmp_path / f"other{index}", os.O_CREAT | os.O_RDWR) for index in range(3)]

    journal.append(LINES[0])

    assert [os.fstat(descriptor).st_size for descriptor in descriptors] == [0, 0, 0]
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_journal_is_for_its_owner_only(tmp_path: Path) -> None:
    """Nobody else on the machine may read what was logged."""
    Journal(tmp_path / "journal.jsonl").close()

    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"metrics","time":1.0,"step":1,"values":{"a":1.0},"new_field":3}',
        b'{"time":1.0,"values":{"a":1.0},"step":1,"type":"metrics"}',
    ],
)
def test_a_field_that_is_not_known_yet_is_no_damage(line: bytes) -> None:
    """A later runcast may add fields, and a tool may order them otherwise: the record is read all the same."""
    assert decode(line) == Metrics(time=1.0, step=1, values={"a": 1.0})


def test_what_is_appended_from_beside_the_training_leaves_no_empty_line(tmp_path: Path) -> None:
    """A meter, another rank or the end of a run is a line like any other, behind whole lines and behind a cut one."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a":1}\n')

    first = append_lines(path, b'{"b":2}\n')
    with path.open("ab") as file:
        file.write(b'{"cut":')
    second = append_lines(path, b'{"c":3}\n{"d":4}\n')

    assert first
    assert second
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n{"cut":\n{"c":3}\n{"d":4}\n'


def test_an_append_to_a_lost_journal_does_not_make_another_one(tmp_path: Path) -> None:
    """Whoever writes beside the training writes into its journal, or not at all."""
    with pytest.raises(FileNotFoundError):
        append_lines(tmp_path / "journal.jsonl", b"{}\n")

    assert not (tmp_path / "journal.jsonl").exists()
