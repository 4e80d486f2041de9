"""Where things lie on disk: the folder of a run, its identity file, and how a user's word for a run is found.

runs/<run id>/run.json              identity, redacted config, versions, which trackers and why
runs/<run id>/journal.jsonl         every record, in order
runs/<run id>/ranks/                what other ranks of the job logged, before it is copied into the journal
runs/<run id>/media|artifacts/      files that records refer to
runs/<run id>/trackers/<name>/      state of the delivery, its log, and that tracker's own local files
"""

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import FinalError, JournalError
from runcast.journal.records import VERSION
from runcast.values.scalars import without_surrogates


class TrackerChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Says how a tracker takes part in a run.

    `tracker` is "module:Class"; `options` are the user's, redacted. `left` says that it had a part in earlier sessions,
    and was not selected for the last one: it keeps what it has.
    """

    tracker: str
    online: bool
    reason: str
    version: str | None = None
    options: dict[str, Any] = {}
    environment: dict[str, str] = {}
    measures: bool = False
    left: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Says when and where a session after the first began, and which params were configured otherwise than before."""

    session: int
    started: float
    host: str
    pid: int
    changed: list[str] = []


class RunFile(msgspec.Struct, kw_only=True):
    """Is the content of run.json.

    `pid_began` tells the training process from a later one of the same number, whatever was done to the clock since.
    `jobs` maps the name of each folder beside the run's in which other ranks leave what they log to the moment before
    which none of them can have begun.
    """

    version: int = VERSION
    id: str
    name: str
    project: str
    created: float
    group: str | None = None
    tags: list[str] = []
    notes: str | None = None
    given: list[str] = []
    session: int = 1
    started: float = 0.0
    host: str = ""
    pid: int = 0
    pid_began: int = 0
    cwd: str = ""
    argv: list[str] = []
    python: str = ""
    runcast: str = ""
    trackers: dict[str, TrackerChoice] = {}
    skipped: dict[str, str] = {}
    config: dict[str, Any] = {}
    sessions: list[Session] = []
    jobs: dict[str, float] = {}
    seal: str = ""


class RunDirectory:
    """Is the folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.jsonl"
        self.run_json = path / "run.json"
        self.ranks = path / "ranks"

    def tracker(self, name: str) -> Path:
        """Return the folder of one tracker, which may not exist yet."""
        return self.path / "trackers" / name

    def create(self) -> None:
        """Make the folder, and those above it that are missing, for their owner only."""
        make_private(self.path)

    def load(self) -> RunFile:
        """Read run.json.

        Raises:
            JournalError: There is no such file, it is damaged, it is of a newer version, or it leads out of the folder.
        """
        folders = (self.path / "trackers", self.ranks)
        for path in (self.run_json, self.journal, *folders):
            if path.is_symlink() or (path.exists() and not (path.is_file() or path in folders)):
                raise JournalError(f"{path} is not a file of its own, so this is no run that runcast made.")
        try:
            run = msgspec.json.decode(self.run_json.read_bytes(), type=RunFile)
        except OSError as error:
            raise JournalError(
                f"{self.path} is no run: {self.run_json.name} cannot be read ({error.strerror}). Name a folder that "
                "runcast made."
            ) from None
        except (msgspec.DecodeError, RecursionError) as error:
            raise JournalError(
                f"{self.run_json} is damaged ({error}). The journal beside it may still be whole."
            ) from None
        if run.version > VERSION:
            raise JournalError(
                f"{self.run_json} is of version {run.version}, this runcast reads up to {VERSION}. Upgrade it: pip "
                "install -U runcast"
            )
        if not valid_id(run.id) or not all(map(valid_tracker, run.trackers)) or not all(map(valid_job, run.jobs)):
            raise JournalError(f"{self.run_json} was not written by runcast: its names lead out of the run's folder.")
        if any(self.tracker(name).is_symlink() for name in run.trackers):
            raise JournalError(f"A folder in {self.path / 'trackers'} is a link, so this is no run that runcast made.")
        return run

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Let nobody else begin or end a session, or write run.json, for the moment that it takes to do so."""
        from runcast.journal.locks import briefly  # readers need no locks

        with briefly(self.path):
            yield

    def save(self, run: RunFile) -> None:
        """Write run.json, so that a reader sees the old one or the new one, never a part. See `settled`."""
        write_atomically(self.run_json, msgspec.json.format(msgspec.json.encode(run), indent=2))


def absolute(path: str | os.PathLike[str]) -> Path:
    """Return a path that means the same after a change of the working directory; as it is, where there is none."""
    try:
        return Path(os.path.abspath(path))
    except OSError:  # the working directory was deleted
        return Path(path)


def shown(path: Path) -> str:
    """Write a path as short as it can be typed from here."""
    try:
        path = Path(os.path.abspath(path))
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    except OSError:
        return str(path)


def host_name() -> str:
    """Return this machine's name, as JSON can hold it."""
    return without_surrogates(os.uname().nodename)


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for their owner only (`Path.mkdir` forgets the parents)."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
            each.chmod(0o700)  # a umask may take the owner's own rights
        except FileExistsError:  # another process was faster
            if not each.is_dir():
                raise


def private_temporary_folder() -> Path:
    """Make or find this user's own folder among the temporary files, where anybody may have made one of its name.

    Raises:
        OSError: There is no place for temporary files.
    """
    import tempfile  # rarely needed, and start-up counts

    name = f"runcast-{os.getuid()}"
    folder = Path(tempfile.gettempdir()) / name
    try:
        make_private(folder)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    except OSError:  # a file of somebody else's has the name
        pass
    return Path(tempfile.mkdtemp(prefix=f"{name}-"))


def own_mode(descriptor: int) -> None:
    """Give a file's owner, and nobody else, the rights that a umask may have taken; not every file system has any."""
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o600)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content in one step, readable by its owner only.

    Nobody else may write it now, so what a killed writer has left is replaced: there is one temporary name.
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


def process_began(pid: int) -> int:
    """Return when a living process began, in clock ticks since the machine's start; 0 if it has ended or is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])  # fields 3 and 22 of proc(5)


def list_runs(root: Path) -> list[RunDirectory]:
    """List the runs under *root*, the oldest first: each once, whatever else lies there, leads there or vanishes."""
    found = []
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            with contextlib.suppress(OSError):
                if not entry.is_symlink():
                    found.append(((entry / "run.json").stat().st_mtime, entry.name, RunDirectory(entry)))
    return [run for _, _, run in sorted(found, key=lambda one: one[:2])]


def find_run(word: str | None, root: Path) -> RunDirectory:
    """Find the run that a user means: a path, an id, the beginning of an id, a name, or the newest (None, "last").

    Raises:
        JournalError: None or several match.
    """
    runs = list_runs(root)
    if word in (None, "", "last", "latest"):
        if not runs:
            raise JournalError(f"There are no runs in {root}. Name a folder with --dir, or make one: runcast demo")
        return runs[-1]
    assert word is not None
    if (Path(word) / "run.json").is_file():
        return RunDirectory(Path(word))
    matches = [run for run in runs if run.path.name == word] or [run for run in runs if run.path.name.startswith(word)]
    matches = matches or [run for run in runs if _name(run) == word]
    if len(matches) != 1:
        known = ", ".join(run.path.name for run in (matches or runs)[-5:]) or "none"
        raise JournalError(
            f"{len(matches)} runs in {root} match {word!r}. {'It could be' if matches else 'The newest are'}: {known}"
        )
    return matches[0]


def _name(run: RunDirectory) -> str | None:
    try:
        return run.load().name
    except JournalError:
        return None


def valid_tracker(name: str) -> bool:
    """Tell whether a text can name a tracker: it names a folder, too."""
    return re.fullmatch(r"\w[\w.-]{0,63}", name) is not None


def valid_job(name: str) -> bool:
    """Tell whether a text can name the folder of a job's ranks."""
    return re.fullmatch(r"\.job-[0-9a-f]{16}", name) is not None


def rank_journals(folder: Path, rank: str | int) -> Iterator[Path]:
    """Yield the paths that the journals of one rank may have, as a job may have several processes of one rank."""
    yield folder / f"{rank}.jsonl"
    for number in itertools.count(2):
        yield folder / f"{rank}-{number}.jsonl"


def inside(folder: Path, path: str) -> Path:
    """Resolve a path in a run's folder.

    Raises:
        FinalError: It leads out of the folder, so it was not written by runcast, or there is nothing.
    """
    root = folder.resolve()
    found = (root / path).resolve()
    if not found.is_relative_to(root) or not found.exists() or stray_link(found, root):
        raise FinalError(f"{path} is not in {root}")
    return found


def stray_link(folder: Path, root: Path) -> Path | None:
    """Find a link in a folder that leads out of *root*, which is resolved."""
    waiting = [folder]  # not `rglob`, which goes deeper than Python may
    while waiting:
        path = waiting.pop()
        if path.is_symlink():
            if not path.resolve().is_relative_to(root):
                return path
        elif path.is_dir():
            waiting += path.iterdir()
    return None


def valid_id(text: str) -> bool:
    """Tell whether a text can be a run's id: a file name that every tracker takes."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", text) is not None
