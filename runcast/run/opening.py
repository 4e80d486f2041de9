"""The folder of a run: created for a new run, reopened for another session."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from runcast.core.errors import OptionError
from runcast.core.foreign import attempt
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile, Session, TrackerChoice, host_name, process_began
from runcast.journal.paths import absolute, make_private, private_temporary_folder
from runcast.journal.random_name import random_id, random_name
from runcast.journal.records import VERSION, Start, encode_line
from runcast.journal.seal import is_own, seal_of
from runcast.redaction.console import warn
from runcast.redaction.tree import redact, redact_text
from runcast.run.options import Options
from runcast.run.sessions import report_left, report_other
from runcast.run.snapshot.checkout import read_source
from runcast.values.config import plain, plain_value
from runcast.values.params import flatten
from runcast.values.scalars import without_surrogates

Made = TypeVar("Made")


def in_folder(root: Path, work: Callable[[Path], Made]) -> Made:
    """Create something in the folder of the runs, or with a warning in a temporary one if that cannot be written."""
    try:
        return work(root)
    except OSError as error:
        fallback = private_temporary_folder()
        warn(
            f"the folder {root} cannot be written ({error.strerror}). Training continues, and the run is kept in "
            f"{fallback}: move it from there, or choose another folder with dir= or RUNCAST_DIR."
        )
        return work(fallback)


def open_run(
    options: Options, config: Any, job: str | None, chosen: dict[str, TrackerChoice], skipped: dict[str, str]
) -> tuple[RunDirectory, RunFile, Journal]:
    """Create or reopen the run's folder.

    If it cannot be written, a temporary one takes its place, with a warning.
    """
    return in_folder(options.dir, lambda root: _open_in(options, root, config, job, chosen, skipped))


def _open_in(
    options: Options,
    root: Path,
    config: Any,
    job: str | None,
    chosen: dict[str, TrackerChoice],
    skipped: dict[str, str],
) -> tuple[RunDirectory, RunFile, Journal]:
    file = new_file(options, config)
    directory = RunDirectory(root / file.id)
    check_resume(options, root)
    directory.create()
    with directory.settled():
        check_resume(options, root)  # again: another process may have made it meanwhile
        if directory.run_json.exists():
            old = directory.load()
            report_other(directory, old)
            attempt(lambda: report_left(directory, old, chosen), lambda _: None)
            file = _continue(old, file)
        file.trackers, file.skipped = {**file.trackers, **chosen}, skipped
        file.seal = seal_of(file)
        if job is not None:
            file.jobs[job] = _began()
            make_private(directory.ranks)
        directory.save(file)
        journal = Journal(directory.journal)
        journal.append(
            encode_line(Start(time=file.started, version=VERSION, session=file.session, host=file.host, pid=file.pid))
        )
    return directory, file, journal


def check_resume(options: Options, root: Path) -> None:
    """Check `resume` against what is in the folder of the runs.

    Raises:
        OptionError: The run must exist and does not, or must not and does.
    """
    exists = options.id is not None and RunDirectory(root / options.id).run_json.exists()
    if options.resume == "must" and not exists:
        raise OptionError(
            f"resume='must', but there is no run {options.id!r} in {root}. Name an id that exists, or use "
            "resume='allow'."
        )
    if options.resume == "never" and exists:
        raise OptionError(
            f"the run {options.id!r} exists in {root}. Resume it with resume='allow', or omit id for a new one."
        )


def _continue(old: RunFile, new: RunFile) -> RunFile:
    """Continue with an older session's identity."""
    before, now = flatten(old.config), flatten(new.config or old.config)
    changed = sorted(key for key in {*before, *now} if key not in before or key not in now or before[key] != now[key])
    new.created, new.session = old.created, old.session + 1
    this = Session(session=new.session, started=new.started, host=new.host, pid=new.pid, changed=changed)
    new.sessions = [*old.sessions, this]
    new.name = new.name if "name" in new.given else old.name
    new.project = new.project if "project" in new.given else old.project
    new.config = new.config or old.config
    new.axes = new.axes or old.axes
    new.given = sorted({*old.given, *new.given})
    if is_own(old):  # a run from elsewhere must not choose what is imported or moved here
        new.jobs = old.jobs
        new.trackers = {name: msgspec.structs.replace(choice, left=True) for name, choice in old.trackers.items()}
    return new


def new_file(options: Options, config: Any) -> RunFile:
    """Describe a new run of this process."""
    now = time.time()
    return RunFile(
        id=options.id or random_id(),
        name=redact_text(options.name) if options.name else random_name(),
        project=redact_text(options.project),
        created=now,
        started=now,
        group=redact_text(options.group) if options.group else None,
        tags=[redact_text(tag) for tag in options.tags],
        notes=redact_text(options.notes) if options.notes else None,
        given=sorted(options.given),
        axes={without_surrogates(pattern): without_surrogates(axis) for pattern, axis in options.axes.items()},
        host=host_name(),
        pid=os.getpid(),
        pid_began=process_began(os.getpid()),
        cwd=without_surrogates(str(absolute("."))),
        argv=redact(plain_value(list(getattr(sys, "argv", ())))),
        python=sys.version.split()[0],
        runcast=_version(),
        source=attempt(read_source, lambda _: None) if "git" in options.snapshot else None,
        config=redact(plain(config)) if config is not None else {},
    )


def _began() -> float:
    """Return when this process (and so, roughly, the other ranks) began, in seconds since the epoch."""
    import psutil  # rarely needed, and start-up counts

    try:
        return float(psutil.Process().create_time())
    except psutil.Error:  # there is no /proc, in a chroot or a sandbox
        return time.time() - time.process_time()


def _version() -> str:
    from runcast import __version__

    return __version__
