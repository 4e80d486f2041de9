"""How an artifact is kept as it is now."""

import contextlib
import os
from pathlib import Path

COPY_BYTES = 64 * 2**20  # up to this size a copy; a bigger file is a hard link, which a rewrite in place would change


def snapshot(source: Path, target: Path) -> int:
    """Copy a file or folder (a big file becomes a hard link where possible); return its size in bytes."""
    target.parent.mkdir(mode=0o700, parents=True)
    if source.is_dir():
        import shutil  # not needed before the first artifact, and start-up counts

        shutil.copytree(source, target, copy_function=_link_or_copy)
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    _link_or_copy(source, target)
    return target.stat().st_size


def write(content: bytes, target: Path) -> int:
    """Write a file that is not there yet, for its owner only; return its size in bytes."""
    target.parent.mkdir(mode=0o700, parents=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        return file.write(content)


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    if os.stat(source).st_size > COPY_BYTES:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    import shutil

    shutil.copy2(source, target)
