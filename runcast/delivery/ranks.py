"""Copying of the other ranks' records into the journal, each record once.

Every rank writes to a file of its own (`run/rank_run.py`), in the run's folder `ranks`, or in a folder beside the run's
that the job's ranks find without communicating; from there it is moved. Any delivery copies new records, under a lock.
Each copied record names its file and its end offset there, so that after a crash the journal itself shows how far the
copying got.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from runcast.delivery.liveness import is_visible, last_end
from runcast.delivery.lock import exclusive
from runcast.journal.file import append_lines
from runcast.journal.layout import RunDirectory, RunFile, rank_journals
from runcast.journal.locks import is_held
from runcast.journal.paths import write_atomically
from runcast.journal.reader import JournalReader
from runcast.journal.records import UNREADABLE, Metrics, RankMetrics, Start, decode, encode, read_struct
from runcast.journal.seal import is_own

# The limit of one write, and so of the records after a run's end, which is searched for in the journal's last 256 KiB.
CHUNK_BYTES = 32 * 1024
LOOK_S = 1.0
BUSY_S, PAUSE_S = 30.0, 0.02
CLOCKS_S = 60.0  # the tolerated difference between the clocks of two machines, or the starts of two ranks

_NAME = re.compile(r"(\d{1,9})(-\d{1,9})?\.jsonl")

log = logging.getLogger("runcast.delivery")


class _Progress(msgspec.Struct):
    """The offset up to which each file was copied, known from the journal up to the offset `seen`."""

    seen: int = 0
    ends: dict[str, int] = {}


def gather_ranks(directory: RunDirectory, file: RunFile) -> None:
    """Copy the records of other ranks, if this machine may: the training's own machine, or any after its end.

    Two machines that append to one journal would lose lines.
    """
    if has_ranks(directory) and (is_visible(file) or last_end(directory) is not None):
        RankFiles(directory, file).gather(closing=True)


def has_ranks(directory: RunDirectory) -> bool:
    """Return whether other ranks log for a run, or did so in an earlier session."""
    return directory.ranks.is_dir()


class RankFiles:
    """The files written by the other ranks of a run's job.

    Args:
        directory: The run's folder.
        file: Its run.json. Files beside its folder are moved only for a run that this user began.
    """

    def __init__(self, directory: RunDirectory, file: RunFile) -> None:
        self._directory = directory
        self._folder = directory.ranks
        root = directory.path.parent
        self._inboxes = {root / name: began for name, began in file.jobs.items()} if is_own(file) else {}
        self._seen: dict[Path, int] = {}

    def gather(self, *, closing: bool = False) -> bool:
        """Copy new records; return whether there were any. After an error, the next call tries again.

        However many deliveries there are, the files of all ranks are read once a second.

        Args:
            closing: Read now, and give up a truncated last line in a file that is no longer written.
        """
        try:
            if not closing and self._was_just_looked_at():
                return False
            sizes = {path: path.stat().st_size for path in self._files()}
            if sizes == self._seen and not closing:
                return False
            deadline = time.monotonic() + (BUSY_S if closing else 0.0)
            while (moved := self._gather(closing=closing)) is None and time.monotonic() < deadline:
                time.sleep(PAUSE_S)  # another delivery is copying what this one needs before it closes
            if moved is not None:
                self._seen = sizes
            return bool(moved)
        except OSError as error:
            log.warning("the records of other ranks could not be copied now: %s", error)
            return False

    def are_written(self) -> bool:
        """Return whether a rank may still log."""
        with contextlib.suppress(OSError):
            return any(is_held(path) for path in self._files())
        return False

    def _was_just_looked_at(self) -> bool:
        lock = self._folder / "lock"
        with contextlib.suppress(FileNotFoundError):
            if abs(time.time() - lock.stat().st_mtime) < LOOK_S:
                return True
            os.utime(lock)
        return False

    def _gather(self, *, closing: bool) -> bool | None:
        with exclusive(self._folder) as mine:
            if not mine:
                return None
            self._take_over()
            progress = self._progress()
            moved = False
            for path in _journals_in(self._folder):
                moved = self._copy(path, progress, is_over=closing and not is_held(path)) or moved
            write_atomically(self._folder / "progress.json", msgspec.json.encode(progress))
            return moved

    # The files

    def _files(self) -> list[Path]:
        return [path for folder in (self._folder, *self._inboxes) for path in _journals_in(folder)]

    def _take_over(self) -> None:
        """Move the files of this job into the run's folder; their writers keep writing to them."""
        for folder, began in self._inboxes.items():
            for path in _journals_in(folder):
                if _began(path) > began - CLOCKS_S:
                    os.rename(path, next(new for new in rank_journals(self._folder, _rank(path)) if not new.exists()))
            with contextlib.suppress(OSError):  # it is not empty, or already gone
                folder.rmdir()

    # The records

    def _progress(self) -> _Progress:
        """Read how far each file was copied, and update that from the journal."""
        progress = read_struct(self._folder / "progress.json", _Progress) or _Progress()
        reader = JournalReader(self._directory.journal, progress.seen)
        for record in (*reader, *reader.rest()):
            if isinstance(record, RankMetrics):
                progress.ends[record.source] = max(record.end, progress.ends.get(record.source, 0))
        progress.seen = reader.offset
        return progress

    def _copy(self, path: Path, progress: _Progress, *, is_over: bool) -> bool:
        moved = False
        for lines, end in _new_lines(path, progress.ends.get(path.name, 0), is_over=is_over):
            if lines and not self._append(lines):
                break
            progress.ends[path.name] = end
            moved = moved or bool(lines)
        return moved

    def _append(self, lines: list[bytes]) -> bool:
        """Write lines to the journal, and repeat the run's end after them, so that it stays near the end."""
        end = last_end(self._directory)
        return append_lines(self._directory.journal, b"\n".join([*lines, *([encode(end)] if end else []), b""]))


def _journals_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _began(path: Path) -> float:
    """Return when a rank began; an earlier job of the same name may have left a file, too."""
    for record, _ in JournalReader(path).read(4096):
        return record.time if isinstance(record, Start) else 0.0
    return 0.0


def _rank(path: Path) -> str:
    return path.stem.partition("-")[0]


def _new_lines(path: Path, offset: int, *, is_over: bool) -> Iterator[tuple[list[bytes], int]]:
    """Yield a file's complete lines from an offset on, in the journal's form, in chunks with their end offset.

    In a file that is no longer written, a partial last line is included.
    """
    rank = _rank(path)
    with open(path, "rb") as file:
        file.seek(offset)
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            whole, newline, rest = (rest + chunk).rpartition(b"\n")
            lines = []
            for line in whole.split(b"\n") if newline else ():
                offset += len(line) + 1
                lines.append(_line(line, rank, path.name, offset))
            if newline:
                yield [line for line in lines if line], offset
        if rest and is_over:
            yield [_no_record(rest)], offset + len(rest)


def _line(line: bytes, rank: str, source: str, end: int) -> bytes:
    """Return a rank's line in the journal's form; a damaged one as text, so that it is counted there."""
    if not line or line.isspace():
        return b""
    try:
        record = decode(line)
    except UNREADABLE:
        return _no_record(line)
    if type(record) is not Metrics or record.by not in (None, "system"):
        return b""
    if record.by is None:
        values = {f"rank{rank}/{key}": value for key, value in record.values.items()}
    else:  # of another node's processors and so on, under that node's name
        values = {key: value for key, value in record.values.items() if key.startswith("system/node")}
    if not values:
        return b""
    copy = RankMetrics(time=record.time, step=record.step, values=values, by=record.by, source=source, end=end)
    return encode(copy)


def _no_record(line: bytes) -> bytes:
    """Return a damaged line as a JSON text: the journal stays valid JSON, and its readers count the line as damaged."""
    return msgspec.json.encode(line.decode(errors="replace"))
