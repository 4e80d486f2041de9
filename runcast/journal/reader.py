"""Reading a journal: complete records from an offset on, counting damaged lines."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runcast.journal.records import UNREADABLE, AnyRecord, Start, decode

CHUNK_BYTES = 4 * 2**20


def journal_size(path: Path) -> int:
    """Return the length of a journal in bytes; 0 if it was deleted."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


class JournalReader:
    """A reader of a journal's complete lines, from `offset` on; `damaged` counts the lines that are not records.

    A deleted journal reads as an empty one.

    Args:
        path: The journal.
        offset: Where to begin: the end of a line.
        last_session: Reading stops before a newer session than this one, and `is_superseded` becomes true.
    """

    def __init__(self, path: Path, offset: int = 0, last_session: int | None = None) -> None:
        self.path = path
        self.offset = offset
        self.last_session = last_session
        self.is_superseded = False
        self.damaged = 0

    def read(self, max_bytes: int = CHUNK_BYTES) -> list[tuple[AnyRecord, int]]:
        """Return the next complete records, each with its end offset; an empty list if there are none now."""
        with self._open() as file:
            chunk = file.read(max_bytes)
            while chunk and b"\n" not in chunk and (more := file.read(max_bytes)):
                chunk += more
        whole = chunk[: chunk.rfind(b"\n") + 1]
        records: list[tuple[AnyRecord, int]] = []
        for line in whole[:-1].split(b"\n") if whole else ():
            record = self._parse(line)
            if self._begins_newer_session(record):
                self.is_superseded = True
                return records
            self.offset += len(line) + 1
            if record:
                records.append((record, self.offset))
        if whole and not records:
            return self.read(max_bytes)
        return records

    def _begins_newer_session(self, record: AnyRecord | None) -> bool:
        return self.last_session is not None and isinstance(record, Start) and record.session > self.last_session

    def read_all(self) -> None:
        """Skip to the end of the complete records."""
        while self.read():
            pass

    @property
    def is_cut(self) -> bool:
        """Return whether the file ends in a partial line: it is being written, or its writer was killed."""
        with self._open() as file:
            return any(not line.endswith(b"\n") for line in file)

    def rest(self) -> list[AnyRecord]:
        """Return the record at the end that lacks its newline, as on a full disk, if it is one."""
        with self._open() as file:
            line = file.read(CHUNK_BYTES)
        try:
            return [] if b"\n" in line else [decode(line)]
        except UNREADABLE:
            return []

    def skip(self) -> None:
        """Give up a truncated last line, and count it; records written after it meanwhile are kept."""
        with self._open() as file:
            line = file.readline()
        if line and not line.endswith(b"\n"):
            self.damaged += 1
            self.offset += len(line)

    def _open(self) -> BinaryIO:
        try:
            file: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - the caller closes it
        except FileNotFoundError:
            return io.BytesIO()
        file.seek(self.offset)
        return file

    def _parse(self, line: bytes) -> AnyRecord | None:
        if not line or line.isspace():
            return None
        try:
            record: AnyRecord = decode(line)
        except UNREADABLE:
            self.damaged += 1
            return None
        return record

    def __iter__(self) -> Iterator[AnyRecord]:
        return (record for record, _ in self.with_ends())

    def with_ends(self) -> Iterator[tuple[AnyRecord, int]]:
        """Yield the complete records, each with its end offset."""
        while batch := self.read():
            yield from batch
