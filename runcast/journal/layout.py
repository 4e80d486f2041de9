"""The layout on disk: the folder of a run, its identity file, and valid names.

runs/<run id>/run.json              identity, redacted config, versions, the trackers and the reasons
runs/<run id>/journal.jsonl         every record, in order
runs/<run id>/ranks/                records of the other ranks of the job, before they are copied into the journal
runs/<run id>/media|artifacts/      files that records refer to
runs/<run id>/trackers/<name>/      state of the delivery, its log, and that tracker's own local files
"""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import JournalError
from runcast.journal.paths import make_private, write_atomically
from runcast.journal.records import UNREADABLE, VERSION
from runcast.values.scalars import without_surrogates


class TrackerChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The part that a tracker takes in a run.

    `tracker` is "module:Class", or empty for a Tracker object, or a class in the script itself, which no other process
    can import; `options` are the user's, redacted. A tracker that has `left` took part in earlier sessions and was not
    selected for the last one; it keeps what it has.
    """

    tracker: str
    online: bool
    reason: str
    version: str | None = None
    options: dict[str, Any] = {}
    environment: dict[str, str] = {}
    measures: bool = False
    left: bool = False


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The commit that a script's code was checked out from.

    `branch` is missing under a detached HEAD. `remote` is the URL of "origin", or else of the first remote, without
    credentials.
    """

    commit: str
    branch: str | None = None
    remote: str | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session after the first: when and where it began, and which params changed."""

    session: int
    started: float
    host: str
    pid: int
    changed: list[str] = []


class RunFile(msgspec.Struct, kw_only=True):
    """The content of run.json.

    `pid_began` distinguishes the training process from a later one with the same id, even if the clock has been
    changed. `jobs` maps each folder beside the run's in which other ranks leave their records to the earliest moment at
    which one of them can have begun. `axes` maps patterns of metrics to the metric that is their x-axis. `source` is
    that of the last session.
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
    axes: dict[str, str] = {}
    session: int = 1
    started: float = 0.0
    host: str = ""
    pid: int = 0
    pid_began: int = 0
    cwd: str = ""
    argv: list[str] = []
    python: str = ""
    runcast: str = ""
    source: Source | None = None
    trackers: dict[str, TrackerChoice] = {}
    skipped: dict[str, str] = {}
    config: dict[str, Any] = {}
    sessions: list[Session] = []
    jobs: dict[str, float] = {}
    seal: str = ""


class RunDirectory:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "journal.jsonl"
        self.run_json = path / "run.json"
        self.ranks = path / "ranks"

    def tracker(self, name: str) -> Path:
        """Return the folder of one tracker, which may not exist yet."""
        return self.path / "trackers" / name

    def create(self) -> None:
        """Make the folder and its missing parents, readable by their owner only."""
        make_private(self.path)

    def load(self) -> RunFile:
        """Read run.json.

        Raises:
            JournalError: The file is missing or damaged, is of a newer version, or leads out of the folder.
        """
        folders = (self.path / "trackers", self.ranks)
        for path in (self.run_json, self.journal, *folders):
            if path.is_symlink() or (path.exists() and not (path.is_file() or path in folders)):
                raise JournalError(f"{path} is a link or a shared file, so runcast did not write this run.")
        try:
            run = msgspec.json.decode(self.run_json.read_bytes(), type=RunFile)
        except OSError as error:
            raise JournalError(
                f"{self.path} is not a run: {self.run_json.name} cannot be read ({error.strerror}). Name the "
                f"folder of a run."
            ) from None
        except UNREADABLE as error:
            raise JournalError(
                f"{self.run_json} is damaged ({error}). The journal beside it may still be whole."
            ) from None
        if run.version > VERSION:
            raise JournalError(
                f"{self.run_json} is of version {run.version}, this runcast reads up to {VERSION}. Upgrade it: pip "
                "install -U runcast"
            )
        if not valid_id(run.id) or not all(map(valid_tracker, run.trackers)) or not all(map(valid_job, run.jobs)):
            raise JournalError(f"{self.run_json} was not written by runcast: it names paths outside the run's folder.")
        if any(self.tracker(name).is_symlink() for name in run.trackers):
            raise JournalError(f"A folder in {self.path / 'trackers'} is a link, so runcast did not write this run.")
        return run

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Hold the run's lock while a session begins or ends, or run.json is written."""
        from runcast.journal.locks import briefly  # readers need no locks

        with briefly(self.path):
            yield

    def save(self, run: RunFile) -> None:
        """Write run.json atomically, so that a reader sees the old or the new content. See `settled`.

        The file's time is the beginning of the last session, by which lists sort: a later `sync` makes no run newer.
        """
        write_atomically(self.run_json, msgspec.json.format(msgspec.json.encode(run), indent=2))
        if run.started:
            with contextlib.suppress(OSError, OverflowError, ValueError):  # of a file from elsewhere, any number
                os.utime(self.run_json, (run.started, run.started))


def host_name() -> str:
    """Return this machine's name in a form that JSON can hold."""
    return without_surrogates(os.uname().nodename)


def process_began(pid: int) -> int:
    """Return when a running process began, in clock ticks since boot; 0 if it has ended or is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])  # fields 3 and 22 of proc(5)


def valid_tracker(name: str) -> bool:
    """Return whether a text can name a tracker, which is also the name of its folder."""
    return re.fullmatch(r"\w[\w.-]{0,63}", name) is not None


def valid_job(name: str) -> bool:
    """Return whether a text can name the folder of a job's ranks."""
    return re.fullmatch(r"\.job-[0-9a-f]{16}", name) is not None


def rank_journals(folder: Path, rank: str | int) -> Iterator[Path]:
    """Yield the possible paths of one rank's journals: a job may have several processes of one rank."""
    yield folder / f"{rank}.jsonl"
    for number in itertools.count(2):
        yield folder / f"{rank}-{number}.jsonl"


def valid_id(text: str) -> bool:
    """Return whether a text can be a run's id: a file name that every tracker accepts."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", text) is not None
