"""A lock has one holder among threads and processes, and nothing but its holder lets go of it."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runcast.journal.file import Journal
from runcast.journal.locks import FileLock, is_held

TAKE = "import sys; from pathlib import Path; from runcast.journal.locks import FileLock; print(FileLock(Path(sys.argv[1])).take())"


def take_elsewhere(path: Path) -> str:
    """Try to take a lock in another process."""
    done = subprocess.run([sys.executable, "-c", TAKE, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """Neither another thread nor another process gets it; afterwards both do."""
    lock, path = FileLock(tmp_path / "lock"), tmp_path / "lock"
    taken: list[bool] = []
    assert lock.take()

    thread = threading.Thread(target=lambda: taken.append(FileLock(path).take()))
    thread.start()
    thread.join()

    assert (taken, take_elsewhere(path), is_held(path)) == ([False], "False", True)
    lock.release()
    assert (is_held(path), take_elsewhere(path)) == (False, "True")


def test_reading_the_file_does_not_release_the_lock(tmp_path: Path) -> None:
    """Whoever looks at it or copies it in the same process, as `log_artifact(".")` does, changes nothing."""
    path = tmp_path / "lock"
    lock = FileLock(path)
    assert lock.take()

    assert is_held(path)
    path.read_bytes()
    shutil.copy(path, tmp_path / "copy")

    assert (is_held(path), take_elsewhere(path)) == (True, "False")
    lock.release()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("by", ["os", "multiprocessing"])
def test_a_fork_that_lives_on_does_not_hold_the_lock(tmp_path: Path, by: str) -> None:
    """A worker of a data loader, or of an SDK, outlives the delivery; the next one need not wait for it."""
    path, lock = tmp_path / "lock", FileLock(tmp_path / "lock")
    assert lock.take()
    reader, writer = os.pipe()
    if by == "os":
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    else:
        process = multiprocessing.get_context("fork").Process(target=_wait_for, args=(reader, writer))
        process.start()

    lock.release()

    assert take_elsewhere(path) == "True"
    os.close(writer)
    os.close(reader)
    if by == "os":
        os.waitpid(pid, 0)
    else:
        process.join()


def _wait_for(reader: int, writer: int) -> None:
    os.close(writer)
    os.read(reader, 1)


def test_a_journal_that_is_read_is_still_held(tmp_path: Path) -> None:
    """A rank shows that it may write, whoever reads its file, until it closes it."""
    path = tmp_path / "1.jsonl"
    journal = Journal(path)
    journal.hold()

    path.read_bytes()

    assert is_held(path)
    assert journal.close() is True
    assert not is_held(path)
