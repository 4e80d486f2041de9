"""Absolute and displayed paths, the interpreter's own, and files that only their owner may read."""

import contextlib
import os
import shlex
import stat
import sys
from pathlib import Path

from runcast.core.errors import FinalError

APART = 200  # beyond the files of most scripts, and below the limit of 256 on macOS


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path; unchanged, if there is no working directory."""
    try:
        return Path(os.path.abspath(path))
    except OSError:  # the working directory was deleted
        return Path(path)


def shown(path: Path) -> str:
    """Return the shortest spelling of a path that works from here, and in the shell that has started the script."""
    try:
        path = Path(os.path.abspath(path))
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) and not _has_moved() else str(path)
    except OSError:
        return str(path)


def _has_moved() -> bool:
    """Return whether the script is known to have left the folder in which it was started."""
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    typed = next(iter(getattr(sys, "argv", ())), None)
    if not (isinstance(script, str) and isinstance(typed, str) and os.path.isabs(script)) or os.path.isabs(typed):
        return False
    return os.path.abspath(typed) != os.path.abspath(script)


def argument(path: Path) -> str:
    """Return a path as an argument of a command that is shown to be copied."""
    text = shown(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def interpreter() -> str | None:
    """Return the path of this Python; None in a program that has none, or that a call of it would start once more."""
    return None if getattr(sys, "frozen", False) else sys.executable or None


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, readable by their owner only."""
    # `Path.mkdir` ignores the mode for parents.
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
            own_mode(each, 0o700)  # a umask may remove the owner's own rights
        except FileExistsError:  # another process made it first
            if not each.is_dir():
                raise


def private_temporary_folder() -> Path:
    """Make or find this user's own folder in the temporary directory, where others may have taken its name.

    Raises:
        OSError: There is no directory for temporary files.
    """
    import tempfile  # rarely needed, and start-up counts

    name = f"runcast-{os.getuid()}"
    folder = Path(tempfile.gettempdir()) / name
    try:
        make_private(folder)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    except OSError:  # another user has taken the name
        pass
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))


def own_mode(file: int | Path, mode: int = 0o600) -> None:
    """Restrict a file or a folder to its owner, whatever the umask; some file systems have no rights."""
    with contextlib.suppress(OSError):
        os.chmod(file, mode)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content atomically, readable by its owner only.

    The caller is the only writer, so there is one temporary name, and the leftover of a killed writer is replaced.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            own_mode(file.fileno())
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def move_apart(descriptor: int) -> int:
    """Move a descriptor to a number that no file of the script gets; return the number.

    A daemon closes every file when it begins. What it opens next gets the lowest numbers, and what is written to them.
    """
    import fcntl  # imported late: `init` says what to do where there is none

    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, APART)
    except OSError:  # so many files may not be open (ulimit -n)
        return descriptor
    os.close(descriptor)
    return moved


def inside(folder: Path, path: str) -> Path:
    """Resolve a path in a run's folder.

    Raises:
        FinalError: It does not exist, or leads out of the folder, so it was not written by runcast.
    """
    root = folder.resolve()
    found = (root / path).resolve()
    if not found.is_relative_to(root) or not found.exists() or stray_link(found, root):
        raise FinalError(f"{path} is not in {root}")
    return found


def stray_link(folder: Path, root: Path) -> Path | None:
    """Find a link in a folder that leads out of *root*, a resolved path."""
    waiting = [folder]  # not `rglob`, which exceeds Python's recursion limit
    while waiting:
        path = waiting.pop()
        if path.is_symlink():
            if not path.resolve().is_relative_to(root):
                return path
        elif path.is_dir():
            waiting += path.iterdir()
    return None
