"""The journal: an append-only file with one JSON record per line.

Writing is one `write` to a file opened for appending: when it returns, the record survives the death of the process
(not a power cut: there is no fsync). Several processes of one machine may append, because each `write` is atomic.
Reading tolerates a truncated last line and damaged lines, and counts them.
"""

import contextlib
import errno
import os
import shlex
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runcast.journal.paths import make_private, move_apart, own_mode
from runcast.journal.reader import journal_size
from runcast.redaction.console import warn

if TYPE_CHECKING:
    from runcast.journal.locks import FileLock

BACKLOG_BYTES = 64 * 2**20
PART_BYTES = 2**22
RETRY_S = 1.0
SETTLE_TRIES, SETTLE_PAUSE_S = 20, 0.001
CURES = {
    None: "Free some disk space.",  # part of a record was written
    errno.ENOSPC: "Free some disk space.",
    errno.EDQUOT: "Free some of your quota.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f).",
}
_END = b"\n"


class Journal:
    """The writer of a journal, which appends lines.

    On a full disk, lines wait in memory until there is space again; the caller notices nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = self._open()
        if _is_cut(self._fd):
            os.write(self._fd, _END)  # an earlier session was killed in the middle of a line
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._retry_at = 0.0
        self._lock, self._is_draining = threading.RLock(), False  # a signal handler may log in the middle
        self._hold: FileLock | None = None
        self.lost_records = 0

    def _open(self) -> int:
        descriptor = move_apart(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
        if not os.fstat(descriptor).st_size:
            own_mode(descriptor)
        return descriptor

    def append(self, line: bytes) -> None:
        """Write one line, which ends in a newline."""
        if self._backlog:
            self._append_slowly(line)
            return
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            if self._reopens(error):
                self.append(line)
            else:
                self._keep(line, error)
            return
        if written != len(line):
            self._keep(_rest(line, len(line) - written), OSError("only a part of a record could be written"))

    def _append_slowly(self, line: bytes) -> None:
        with self._lock:
            self._backlog.append(line)
            self._backlog_bytes += len(line)
            while self._backlog_bytes > BACKLOG_BYTES:
                oldest = self._backlog.popleft()
                self._backlog_bytes -= len(oldest)
                if oldest != _END:
                    self.lost_records += 1
            if time.monotonic() >= self._retry_at:
                self._drain()

    def _keep(self, line: bytes, error: OSError) -> None:
        if self._fd < 0:
            self.lost_records += 1
            warn(f"a record that was logged after the end of the run is lost: {self.path} is closed.")
            return
        warn(
            f"the journal {self.path} cannot be written ({error.strerror or error}). Training continues; up to "
            f"{BACKLOG_BYTES >> 20} MiB of records are kept in memory. {CURES.get(error.errno, '')}".rstrip()
        )
        with self._lock:
            self._backlog.append(line)
            self._backlog_bytes += len(line)
            self._retry_at = time.monotonic() + RETRY_S

    def _drain(self) -> None:
        if not self._is_draining:  # otherwise this is a signal handler, whose record has to wait for its turn
            self._is_draining = True
            try:
                self._write_backlog()
            finally:
                self._is_draining = False

    def _write_backlog(self) -> None:
        while self._backlog:
            record = self._backlog[0]
            line, written = record, 0
            try:
                line = whole_lines(self._fd, record)
                written = os.write(self._fd, line)
            except OSError as error:
                if self._reopens(error):
                    continue
            if not self._backlog:  # a signal handler has ended the run
                return
            if written != len(line):
                self._backlog[0] = _rest(record, len(line) - written)
                self._backlog_bytes += len(self._backlog[0]) - len(record)
                self._retry_at = time.monotonic() + RETRY_S
                return
            self._backlog_bytes -= len(self._backlog.popleft())
        warn(f"the journal {self.path} can be written again; {self.lost_records} records were lost.")

    def _reopens(self, error: OSError) -> bool:
        """Open the file again if the descriptor was lost; return whether it is open.

        Daemons close every open file, and a network share forgets its open files when its server restarts.
        """
        if self._fd < 0 or error.errno not in (errno.EBADF, errno.ESTALE):
            return False
        try:
            self._fd = self._open()
        except OSError:
            return False
        return True

    def after_fork(self) -> None:
        """Leave the records that wait in memory to the parent, whose threads may hold the lock."""
        self._lock, self._is_draining = threading.RLock(), False
        if self._backlog:  # the file may end in a partial line
            self._backlog, self._backlog_bytes = deque((_END,)), len(_END)

    def drain(self) -> bool:
        """Try to write the records that wait in memory; return whether all were written."""
        if self._backlog:
            with self._lock:
                self._drain()
        return not self._backlog

    def hold(self) -> None:
        """Show others that this process may write (`locks.is_held`), until it closes the journal or dies."""
        from runcast.journal.locks import FileLock  # imported late: not needed for the journal of a run

        self._hold = FileLock(self.path)
        self._hold.take()

    def place(self) -> Literal["there", "moved", "deleted"]:
        """Return what has become of the file's path, which others need: this process can write in any case."""
        try:
            if self.path.exists():
                return "there"
            return "moved" if os.fstat(self._fd).st_nlink else "deleted"
        except OSError:  # a daemon has closed it, or a network share is away
            return "there"

    def restore(self) -> None:
        """Write a deleted file again, and continue there.

        Raises:
            OSError: It cannot be written.
        """
        make_private(self.path.parent)
        descriptor = move_apart(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR, 0o600))
        own_mode(descriptor)
        with self._lock:
            at = 0
            while part := os.pread(self._fd, PART_BYTES, at):
                at += os.write(descriptor, part)
            deleted, self._fd = self._fd, descriptor
        os.close(deleted)

    def size(self) -> int:
        """Return the length of the file in bytes."""
        try:
            return os.fstat(self._fd).st_size
        except OSError:
            return journal_size(self.path)

    def close(self) -> bool:
        """Close the file; return whether every record is in it.

        Records that still wait in memory get one last chance, and otherwise go to another folder.
        """
        is_whole = self.drain()
        if not is_whole and (rescued := self._rescue()):
            warn(
                f"{len(self._backlog)} records did not fit into {self.path} and are in {rescued}. When there is "
                f"space again, append them with: cat {shlex.quote(str(rescued))} >> {shlex.quote(str(self.path))}"
            )
            self._backlog.clear()
        self.lost_records += len(self._backlog)
        descriptor, self._fd = self._fd, -1  # a late append of another thread must not write to another file
        with contextlib.suppress(OSError):  # a daemon has closed it
            os.close(descriptor)
        if self._hold is not None:
            self._hold.release()
        return is_whole and not self.lost_records

    def _rescue(self) -> Path | None:
        """Write the waiting records into the temporary folder, which may be on another disk; return the file."""
        import tempfile  # rarely needed, and start-up counts

        try:
            descriptor, name = tempfile.mkstemp(prefix=f"{self.path.parent.name}-", suffix=".jsonl")
            with open(descriptor, "wb") as file:
                file.write(whole_lines(self._fd, b"".join(self._backlog)))
        except OSError:
            return None
        return Path(name)


def append_lines(path: Path, lines: bytes) -> bool:
    """Append whole lines from another process than the training; return whether all were written."""
    descriptor = os.open(path, os.O_APPEND | os.O_RDWR)
    try:
        data = whole_lines(descriptor, lines)
        return os.write(descriptor, data) == len(data)
    finally:
        os.close(descriptor)


def whole_lines(descriptor: int, lines: bytes) -> bytes:
    """Return *lines* ready to append: with a newline first if the file ends in a partial line."""
    if _is_cut(descriptor):
        return lines if lines.startswith(_END) else _END + lines
    return lines.removeprefix(_END)


def _is_cut(descriptor: int) -> bool:
    """Return whether a file ends in a partial line: its writer was killed, or the disk was full.

    A line that another process is writing looks the same for a moment: a file grows page by page.
    """
    for _ in range(SETTLE_TRIES):
        size = os.fstat(descriptor).st_size
        if not size or os.pread(descriptor, 1, size - 1) == _END:
            return False
        time.sleep(SETTLE_PAUSE_S)
    return True


def _rest(line: bytes, left: int) -> bytes:
    """Return what to write when *left* bytes of a line were not written: the whole line again, or only its end."""
    return line if left > 1 else _END
