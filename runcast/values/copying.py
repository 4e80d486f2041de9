"""Copying files as they are now: keeping holes, sharing blocks where possible, checking the free space."""

import contextlib
import errno
import os
import stat
from pathlib import Path

RESERVE_BYTES = 64 * 2**20  # of the disk, for the journal and the trackers
PART_BYTES = 2**22
# FICLONE, from linux/fs.h: the copy shares its blocks with the original until one of them is written.
CLONE = 0x40049409


def copy_small(source: Path, target: Path, limit: int) -> None:
    """Copy a file of at most *limit* bytes.

    Raises:
        OSError: It cannot be read, is not a file or is too long, or the disk is full.
    """
    found = source.stat()
    if found.st_size > limit:
        raise OSError(
            errno.EFBIG,
            f"it has {found.st_size / 1e6:,.0f} MB of at most {limit / 1e6:,.0f}. Log it with run.log_artifact",
            str(source),
        )
    check_room(on_disk(found), target.parent, source)
    try:
        copy_file(source, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def copy_file(source: Path, target: Path) -> int:
    """Copy a file as long as it is now, with its holes; return its size in bytes."""
    # O_NONBLOCK: the file may just have been replaced by a pipe, and opening that would block.
    with contextlib.ExitStack() as stack:
        reader = os.open(source, os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        found = os.fstat(reader)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no longer a file", str(source))
        writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        stack.callback(os.close, writer)
        if not _clone(reader, writer):
            _copy_data(reader, writer, found.st_size)
        with contextlib.suppress(OSError):  # not every file system has rights and times
            os.fchmod(writer, 0o600 | (found.st_mode & 0o700))
            os.utime(writer, ns=(found.st_atime_ns, found.st_mtime_ns))
        return os.fstat(writer).st_size


def check_room(needed: int, folder: Path, source: Path) -> None:
    """Raise OSError if a folder's disk cannot take so many bytes.

    A reserve is left for the journal and the trackers.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:  # a file system that does not say; another one says that it has no blocks at all
        return
    free = disk.f_bavail * disk.f_frsize - RESERVE_BYTES
    if disk.f_blocks and needed > free:
        room = f"it takes {needed / 1e6:,.0f} MB, and {max(0, free) / 1e6:,.0f} MB are free"
        raise OSError(errno.ENOSPC, room, str(source))


def on_disk(found: os.stat_result) -> int:
    """Return how many bytes a file takes on its disk."""
    return min(found.st_size, getattr(found, "st_blocks", found.st_size) * 512)


def _clone(reader: int, writer: int) -> bool:
    try:
        import fcntl  # not on every system, and rarely needed

        fcntl.ioctl(writer, CLONE, reader)
    except (ImportError, OSError):
        return False
    return True


def _copy_data(reader: int, writer: int, size: int) -> None:
    at = 0
    while at < size:
        try:
            at = os.lseek(reader, at, os.SEEK_DATA)
            end = min(size, os.lseek(reader, at, os.SEEK_HOLE))
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            end = size  # a file system without holes
        os.lseek(reader, at, os.SEEK_SET)
        os.lseek(writer, at, os.SEEK_SET)
        while at < end:
            part = os.read(reader, min(PART_BYTES, end - at))
            if not part:  # truncated meanwhile
                os.ftruncate(writer, at)
                return
            at += len(part)
            while part:
                part = part[os.write(writer, part) :]
    os.ftruncate(writer, min(size, os.fstat(reader).st_size))
