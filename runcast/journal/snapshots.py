"""Snapshots of artifacts: copies that later changes to the original do not affect."""

import errno
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runcast.journal.layout import RunDirectory
from runcast.journal.paths import absolute, make_private, own_mode
from runcast.journal.records import Artifact
from runcast.redaction.tree import redact_text
from runcast.values.copying import check_room, copy_file, on_disk
from runcast.values.scalars import without_surrogates

NAMED = 5
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)  # a Path has one slash of the two
# Errors of the run's disk; any other error concerns one file.
FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))


class Kept(NamedTuple):
    """An artifact's record, and a sentence about what could not be kept, if anything."""

    record: Artifact
    lacking: str


class Entry(NamedTuple):
    """A file or a folder to copy; `size_bytes` is its size on disk, None for a folder."""

    source: Path
    target: Path
    size_bytes: int | None


def keep_artifact(directory: Path, source: Path | bytes, name: str, kind: str, number: int) -> Kept:
    """Keep a file, a folder or given content in a run's folder, under redacted names.

    Raises:
        OSError: It cannot be read, or the disk is full.
        ValueError: It is a whole file system, neither a file nor a folder, an address, or begins with an unexpanded ~.
    """
    if isinstance(source, Path) and not source.exists():
        _check_name(str(source))
    folder = directory / "artifacts" / f"{number:04d}-{os.urandom(2).hex()}"
    missing: list[str] = []
    try:
        if isinstance(source, bytes):
            target = folder / name
            size = write(source, target)
        else:
            target = folder / (without_surrogates(redact_text(absolute(source).name)) or "root")
            size = _copy_all(source, target, directory, missing)
    except BaseException:
        import shutil  # rarely needed, and start-up counts

        shutil.rmtree(folder, ignore_errors=True)
        raise
    path = target.relative_to(directory).as_posix()
    record = Artifact(time=time.time(), name=redact_text(name), kind=redact_text(kind), path=path, size_bytes=size)
    rest = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return Kept(
        record, f"is an artifact that is incomplete: it lacks {', '.join(missing[:NAMED])}{rest}" if missing else ""
    )


def _check_name(missing: str) -> None:
    """Raise ValueError if the name of a missing file is one that only other programs understand."""
    if missing.startswith("~"):
        raise ValueError(f"there is no {missing}, as only shells expand ~: use os.path.expanduser({missing!r})")
    if address := _ADDRESS.match(missing):
        raise ValueError(
            f"{address[1]}:// is the beginning of an address, not of a path. Download it and log the file, or keep the "
            "address as a param"
        )


def write(content: bytes, target: Path) -> int:
    """Write a new file, readable by its owner only; return its size in bytes."""
    make_private(target.parent)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        own_mode(file.fileno())
        return file.write(content)


def _copy_all(source: Path, target: Path, directory: Path, missing: list[str]) -> int:
    """Copy a file or a folder, except for runs of runcast in it; return the size in bytes."""
    entries = list(_entries(source, target, directory, missing))
    needed = sum(entry.size_bytes or 0 for entry in entries)
    make_private(target.parent)
    check_room(needed, target.parent, source)
    size = 0
    for entry in entries:
        try:
            if entry.size_bytes is None:
                entry.target.mkdir(mode=0o700)
                own_mode(entry.target, 0o700)
            else:
                size += copy_file(entry.source, entry.target)
        except OSError as error:
            if error.errno in FULL or entry.source == source:
                raise
            missing.append(f"{os.path.relpath(entry.source, source)} ({error.strerror})")
    return size


def _entries(source: Path, target: Path, directory: Path, missing: list[str]) -> Iterator[Entry]:
    """Yield the entries to copy, each folder before its content. Links are followed, but never in a circle."""
    found = source.stat()
    if stat.S_ISREG(found.st_mode):
        yield Entry(source, target, on_disk(found))
        return
    if not stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{source} is neither a file nor a folder")
    if source.resolve().parent == source.resolve():
        raise ValueError(f"{source} is a whole file system")
    # Runs are left out, except those that contain the source itself: the user has named that.
    own = {_identity(each.stat()) for each in (directory.parent, directory, directory / "artifacts") if each.exists()}
    own -= {_identity(each.stat()) for each in (source.resolve(), *source.resolve().parents)}
    waiting = [(source, target, frozenset((_identity(found),)))]
    while waiting:
        folder, copy, above = waiting.pop()
        try:
            inside = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == source:
                raise
            missing.append(f"{os.path.relpath(folder, source)} ({error.strerror})")
            continue
        yield Entry(folder, copy, None)
        for entry in inside:
            path, name = Path(entry.path), os.path.relpath(entry.path, source)
            try:
                found = entry.stat()
            except OSError as error:
                missing.append(f"{name} ({'a dangling link' if entry.is_symlink() else error.strerror})")
                continue
            if stat.S_ISREG(found.st_mode):
                yield Entry(path, copy / entry.name, on_disk(found))
            elif not stat.S_ISDIR(found.st_mode):
                missing.append(f"{name} (no file)")
            elif _identity(found) in above:
                missing.append(f"{name} (a link to one of its own parent folders)")
            elif _identity(found) in own or _is_run(path):
                missing.append(f"{name} (runs of runcast)")
            else:
                waiting.append((path, copy / entry.name, above | {_identity(found)}))


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_run(folder: Path) -> bool:
    run = RunDirectory(folder)
    return run.run_json.is_file() and run.journal.is_file()
