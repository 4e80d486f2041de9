"""How an artifact is kept as it is now."""

import contextlib
import os
import time
from pathlib import Path

from runcast.core.layout import make_private
from runcast.core.records import Artifact
from runcast.core.redaction import redact_text

COPY_BYTES = 64 * 2**20  # up to this size a copy; a bigger file is a hard link, which a rewrite in place would change


def keep_artifact(directory: Path, source: Path | bytes, name: str, kind: str, number: int) -> Artifact:
    """Keep a file, a folder or a content in a run's folder, under names without secrets; return its record."""
    folder = directory / "artifacts" / f"{number:04d}-{os.urandom(2).hex()}"
    if isinstance(source, bytes):
        target = folder / name
        size = write(source, target)
    else:
        target = folder / redact_text(source.resolve().name)
        size = snapshot(source, target)
    path = target.relative_to(directory).as_posix()
    return Artifact(time=time.time(), name=redact_text(name), kind=redact_text(kind), path=path, size_bytes=size)


def snapshot(source: Path, target: Path) -> int:
    """Copy a file or folder (a big file becomes a hard link where possible); return its size in bytes.

    The copies are for their owner only. A hard link has the rights of the user's own file, in a folder that is private.
    """
    make_private(target.parent)
    if source.is_dir():
        import shutil  # not needed before the first artifact, and start-up counts

        shutil.copytree(source, target, copy_function=_link_or_copy)
        for copied in (target, *target.rglob("*")):
            if copied.is_dir():
                copied.chmod(0o700)
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    _link_or_copy(source, target)
    return target.stat().st_size


def write(content: bytes, target: Path) -> int:
    """Write a file that is not there yet, for its owner only; return its size in bytes."""
    make_private(target.parent)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        return file.write(content)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    if os.stat(source).st_size > COPY_BYTES:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    import shutil

    shutil.copy2(source, target)
    os.chmod(target, os.stat(target).st_mode & 0o700)
