"""How an artifact is kept as it is now."""

import contextlib
import os
from pathlib import Path

from runcast.core.layout import make_private

COPY_BYTES = 64 * 2**20  # up to this size a copy; a bigger file is a hard link, which a rewrite in place would change


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


def _link_or_copy(source: str | Path, target: str | Path) -> None:
    if os.stat(source).st_size > COPY_BYTES:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    import shutil

    shutil.copy2(source, target)
    os.chmod(target, os.stat(target).st_mode & 0o700)
