"""Find, read and upload W&B's transaction files, `run-<id>.wandb`, also online: they hold what the SDK was given.

W&B has no reader in Python since 0.31, only the command `wandb leet inspect`, which takes half a second a file and
prints values that have lost their type. Of a process that was cut off online only the rows that the server has count.
The messages are W&B's own protobuf classes; only their frame is read here: a 7-byte header, then blocks of 32 KiB with
pieces of records (checksum, length, kind), as in LevelDB's log. Seen in wandb 0.22.0 and 0.31.0, 2026-11-20.
"""

import glob
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protobuf

from runcast.core.errors import RetryableError
from runcast.integrations.command import run_command
from runcast.integrations.contract import Reading, TrackedRun
from runcast.journal.records import Status
from runcast.values.points import Point, PointList
from runcast.values.scalars import decoded

FILE_HEADER = struct.Struct("<4sHB")
PIECE_HEADER = struct.Struct("<IHB")
BLOCK_BYTES = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

STEP, TIME, STATUS, ERROR = "global_step", "_timestamp", "runcast/status", "runcast/error"
REPLACES, CREATED = "runcast/replaces", "runcast/created"
OWN_KEYS = frozenset((STEP, TIME, "_runtime", "_step", "_wandb", STATUS, ERROR, REPLACES, CREATED))
TABLE_TYPE = "run_table"  # of the artifacts that W&B makes for tables
EXIT_CODES: Mapping[Status, int] = {"finished": 0, "failed": 1, "killed": 255, "crashed": 137}
STATUS_OF_EXIT = {code: status for status, code in EXIT_CODES.items()}
CUT = "cut"  # under this name the run remembers the files of online processes that were cut off
UPLOAD_S = 240


def marks(run: TrackedRun) -> dict[str, Any]:
    """Return the entries of the config by which W&B shows which run it is."""
    return {CREATED: run.created, **({REPLACES: run.replaces} if run.replaces else {})}


def list_files(run: TrackedRun) -> list[Path]:
    """List the transaction files of a run, the oldest first: one for each process that had it open."""
    folder = Path(run.ids.get("folder") or run.local / "wandb")
    run_id = glob.escape(run.ids.get("id", run.id))
    found = folder.glob(f"*run-*-{run_id}*/run-{run_id}.wandb")
    return sorted(found, key=lambda file: file.parent.name.removeprefix("offline-"))


def synced_mark(file: Path) -> Path:
    """Return W&B's own mark of a file that is on the server."""
    return file.with_name(f"{file.name}.synced")


def is_online(file: Path) -> bool:
    """Return whether a file is of a process that sent to the server."""
    return not file.parent.name.startswith("offline-")


def note_cut(run: TrackedRun, files: Sequence[Path], first_step: int) -> None:
    """Remember how far the server has got with *files* of earlier online processes: to W&B's own *first_step*.

    `wandb sync` would send such a whole file after the part that the server already has.
    """
    cut = json.loads(run.ids.get(CUT, "{}"))
    for file in files:
        if is_online(file) and not synced_mark(file).exists():
            cut.setdefault(file.parent.name, first_step)
    run.remember(**{CUT: json.dumps(cut)})


def upload_rest(run: TrackedRun) -> None:
    """Send what earlier processes left on disk while they were offline.

    Raises:
        RetryableError: Not everything is on the server.
    """
    offline = [file for file in list_files(run) if not is_online(file)]
    rest = [file for file in offline if not synced_mark(file).exists() and any(read_records(file))]
    if not rest:
        return
    folders = [str(file.parent.absolute()) for file in rest]
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", *folders]
    done = run_command(command, run.local, UPLOAD_S)  # there, as the command leaves logs where it runs
    if not all(synced_mark(file).exists() for file in rest):
        raise RetryableError(f"wandb sync failed: {(done.stderr + done.stdout)[-500:]}")


def mark_as_sent(run: TrackedRun) -> None:
    """Mark all files as being on the server."""
    for file in list_files(run):
        synced_mark(file).touch()


def read_run(run: TrackedRun) -> Reading:
    """Read all of a run; what was sent as an artifact online is in no file, and remembered."""
    reading = read_files(list_files(run), json.loads(run.ids.get(CUT, "{}")))
    reading.artifacts = {*(reading.artifacts or ()), *json.loads(run.ids.get("artifacts", "[]"))}
    return reading


def read_files(paths: Sequence[Path], cut: Mapping[str, int]) -> Reading:
    """Join the transaction files of one run, the oldest first; the status is that of the newest.

    Of a file whose folder is in *cut* only rows before that step of W&B's count.
    """
    reading = Reading(params={}, summary={}, tags=set(), artifacts=set(), media=[])
    for path in paths:
        reading.status = "running"
        end = cut.get(path.parent.name, sys.maxsize)
        for record in read_records(path):
            if record.WhichOneof("record_type") == "history" and record.history.step.num >= end:
                continue
            _add(record, record.WhichOneof("record_type"), reading)
    return reading


def read_records(path: Path) -> Iterator[Any]:
    """Yield the records of a file up to its end, or to where its writer was cut off or has not come yet."""
    with path.open("rb") as file:
        if file.read(FILE_HEADER.size)[:4] != b":W&B":
            return
        size, parts = BLOCK_BYTES - FILE_HEADER.size, b""
        while block := file.read(size):
            size, at = BLOCK_BYTES, 0
            while at + PIECE_HEADER.size <= len(block):
                checksum, length, kind = PIECE_HEADER.unpack_from(block, at)
                if kind == length == 0:
                    break
                at += PIECE_HEADER.size
                piece = block[at : at + length]
                if len(piece) < length or zlib.crc32(piece, zlib.crc32(bytes([kind]))) != checksum:
                    return
                at += length
                parts = piece if kind in (FULL, FIRST) else parts + piece
                if kind in (FULL, LAST):
                    yield protobuf.Record.FromString(parts)


def _add(record: Any, kind: str, reading: Reading) -> None:
    if kind == "history":
        _add_row(record.history.item, reading)
    elif kind == "config":
        _add_params(record.config, reading)
    elif kind == "run":
        run = record.run
        if run.start_time.seconds:
            reading.started_at = reading.started_at or run.start_time.ToMicroseconds() / 1e6
        _add_params(run.config, reading)
        reading.name, reading.notes, reading.group = run.display_name, run.notes or None, run.run_group or None
        reading.tags = {*(reading.tags or ()), *run.tags}
    elif kind == "summary":
        _add_summary(record.summary, reading)
    elif kind == "artifact" and record.artifact.type != TABLE_TYPE:
        reading.artifacts = {*(reading.artifacts or ()), record.artifact.name}
    elif kind == "exit" and reading.status == "running":
        reading.status = STATUS_OF_EXIT.get(record.exit.exit_code, "failed")


def _add_params(config: Any, reading: Reading) -> None:
    assert reading.params is not None
    reading.params.update({key: value for key, value in map(_entry, config.update) if key not in OWN_KEYS})


def _add_summary(summary: Any, reading: Reading) -> None:
    """Add what was given as summary; the last value of each metric, which W&B adds, has the nested form of a key."""
    assert reading.summary is not None
    given = dict(_entry(item) for item in summary.update if not item.nested_key)
    reading.status = given.get(STATUS, reading.status)
    for key, value in given.items():
        if key not in OWN_KEYS:
            reading.summary[key] = decoded(value)


def _add_row(items: Any, reading: Reading) -> None:
    assert isinstance(reading.points, PointList)
    assert isinstance(reading.media, list)
    entries = {tuple(item.nested_key) or (item.key,): item.value_json for item in items}
    if (STEP,) not in entries:  # a row of the user's, in a run that we joined
        return
    step, time = json.loads(entries[(STEP,)]), json.loads(entries[(TIME,)])
    for key, text in entries.items():
        if len(key) == 1 and key[0] not in OWN_KEYS:
            reading.points.append(Point(key[0], json.loads(text), step, time))
        elif len(key) == 2 and key[1] == "_type":
            reading.media.append((key[0], step))


def _entry(item: Any) -> tuple[str, Any]:
    return item.key or ".".join(item.nested_key), json.loads(item.value_json)
