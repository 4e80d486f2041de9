"""`init`: starts a run and connects its parts.

`autodetect` and `delivery` are imported when it is called.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import OptionError, RuncastError
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import shown
from runcast.journal.seal import is_known_elsewhere
from runcast.journal.state import Carrier, load_state
from runcast.redaction.console import keep_standard_descriptors, say, warn
from runcast.redaction.tree import redact
from runcast.run.current import Current, look_after
from runcast.run.opening import check_resume, in_folder, new_file, open_run
from runcast.run.options import OF_ADAPTERS, Options, settle
from runcast.run.ranks import may_be_first, next_job_folder, rank, world_size
from runcast.run.run import Run
from runcast.values.config import plain
from runcast.values.settings import check_names


def init(
    project: str | None = None,
    name: str | None = None,
    config: Any = None,
    *,
    report_to: Any = ...,
    dir: str | os.PathLike[str] | None = None,
    id: str | None = None,
    resume: str | bool | None = None,
    group: str | None = None,
    tags: Iterable[str] = (),
    notes: str | None = None,
    offline: bool | None = None,
    strict: bool | None = None,
    delivery: str | None = None,
    setup: Mapping[str, Mapping[str, Any]] | None = None,
    per_rank: bool | None = None,
    axes: Mapping[str, str] | None = None,
    snapshot: str | Iterable[str] | None = None,
) -> Run:
    """Start a run and cast it to every selected tracker; `log` may be called at once.

    Every argument but `config`, `setup` and `axes` has an environment variable, RUNCAST_ and its name (RUNCAST_RUN_ID
    for `id`); an argument beats it.

    Args:
        project: Groups runs in the trackers. Default: the name of the working directory, of Hydra's original one.
        name: A name for people. Default: two words and a number.
        config: The configuration: anything with names and values (dict, dataclass, Namespace, OmegaConf …).
            Secrets are redacted.
        report_to: "all" (the default), "none", or trackers by name, class or instance. A wrong name raises.
        dir: The folder that holds the runs. Default: "runs".
        id: The run's id, for resuming it. Default: the time and four random digits.
        resume: "never" (the default): an existing id is an error. "allow": resume the run if it exists. "must": it has
            to exist.
        group: A group of runs, in the trackers that support groups.
        tags: Words for finding the run.
        notes: A longer text about the run.
        offline: True: local modes only. False: online only. Default: online where the user has configured credentials.
        strict: Whether a tracker that fails for good makes a `log` raise, within about a second. Default: False.
        delivery: "process" (the default): a child process per tracker. "thread": a thread per tracker in this process,
            the default in a program without an interpreter of its own. "later": nothing until `runcast sync`.
        setup: Options for each tracker's SDK, as passed to it by hand: {"wandb": {"entity": "team"}}.
        per_rank: Whether to keep the metrics of every rank of a job: rank 0's under their own names, rank 3's under
            "rank3/…". Default: False: the other ranks log nothing.
        axes: The x-axes of metrics that have another than the step: {"val/*": "epoch"}, where "epoch" is a metric that
            is logged in the same call. Native where a service has x-axes; elsewhere it is a metric beside them.
        snapshot: What to keep of the state that the run was made from: "git" (commit, branch, remote) and "hardware",
            both by default, as params under "snapshot/"; "diff" (to the commit) and "packages" as the files of one
            artifact. Secrets are redacted. () or "none": nothing.

    Raises:
        OptionError: An argument or variable is wrong.
        TrackerUnavailableError: A tracker requested by name cannot be used; the message gives the command that fixes
            it.
    """
    arguments = locals()
    _check_system()
    keep_standard_descriptors()
    options = settle(arguments)
    Current.end_earlier_cells()
    from runcast.autodetect import join_open_runs, select
    from runcast.autodetect.tracker_options import check_setup
    from runcast.delivery.courier.carriers import open_carrier

    selection = select(report_to, offline=options.offline, setup=options.setup)
    check_setup(options.setup)
    if options.delivery == "later":
        selection.skip_objects()
    job = next_job_folder() if options.per_rank and world_size() > 1 else None
    if (number := rank()) != 0:
        return _open_beside(options, config, job, number, samples="system" in selection.chosen)
    if _is_imported_by_a_child():
        return _open_beside(options, config, None, number)
    joining = join_open_runs(
        selection.chosen,
        options.setup,
        delivery=options.delivery,
        offline=options.offline,
        known_ids=lambda tracker: _known_ids(options, tracker),
    )
    selection.chosen = joining.chosen
    chosen = {
        name: msgspec.structs.replace(choice, options=redact(plain(dict(joining.setup.get(name, {})))))
        for name, choice in selection.chosen.items()
    }
    parts = {**chosen, **selection.given()}
    try:
        directory, file, journal = open_run(options, config, job, parts, selection.skipped)
    except OSError as error:
        return _unrecorded(options, config, error)

    def carry(file: RunFile) -> Carrier | None:
        if options.delivery == "later" or not parts:
            return None
        return open_carrier(directory, file, selection.chosen, selection.objects, joining.setup, options.delivery)

    def reopen() -> None:
        again = msgspec.structs.replace(options, id=file.id, resume="allow")
        _, newer, second = open_run(again, None, None, parts, selection.skipped)
        second.close()
        if run._carrier is not None:
            run._carrier.finish(0, 0.0)  # it has nothing left to deliver
        file.session, run._carrier = newer.session, carry(newer)

    run = Run(file, directory, journal, carry(file), strict=options.strict)
    run._reopen = None if run._carrier is None or selection.objects else reopen
    if file.tags:
        run.add_tags(*file.tags)
    if config is not None:
        run.log_params(config)
        run._keep(msgspec.json.format(msgspec.json.encode(run.config), indent=2), "config.json", "config")
    run._take_snapshot(options.snapshot)  # behind the user's own: a tracker may take only so many params
    _greet(run, file, options, [*joining.remarks, *selection.remarks()])
    look_after(run)
    return Current.add(run)


def init_for_trainer(**arguments: Any) -> Run:
    """Start a run as `init` does, before the first step of a trainer.

    Raises:
        OptionError: As for `init`, or the run cannot be stored anywhere.
        TrackerUnavailableError: As for `init`.
    """
    run = init(**arguments)
    Current.of_trainers.add(run)
    if run.unrecorded is not None:
        raise OptionError(
            f"the run cannot be written ({run.unrecorded}). Choose another folder with dir= or RUNCAST_DIR, or report "
            'nothing with report_to="none".'
        )
    return run


def check(report_to: Any = ..., **options: Any) -> Options:
    """Raise what `init` would raise for these arguments, without starting a run; return them resolved.

    Raises:
        OptionError: A name or a value is wrong.
        TrackerUnavailableError: A tracker requested by name cannot be used.
    """
    from runcast.autodetect import select
    from runcast.autodetect.tracker_options import check_setup

    check_names(options, OF_ADAPTERS)
    settled = settle(options)
    select(report_to, offline=settled.offline, setup=settled.setup)
    check_setup(settled.setup)
    if settled.id is not None and may_be_first():
        check_resume(settled, settled.dir)
    return settled


def trackers_of(report_to: Any, options: Options) -> set[str]:
    """Return the names of the trackers that a choice means."""
    from runcast.autodetect import select

    selection = select(report_to, offline=options.offline, setup=options.setup)
    return {*selection.chosen, *selection.objects}


def _check_system() -> None:
    try:
        import fcntl  # noqa: F401
    except ImportError:
        raise RuncastError(
            "runcast runs on Linux and macOS only: this Python has no module fcntl, which locks files. On Windows, "
            "use WSL."
        ) from None


def is_running(directory: RunDirectory, file: RunFile) -> bool:
    """Return whether the process that opened the run's last session is alive and has not finished it."""
    from runcast.delivery.liveness import run_status

    return run_status(directory, file) == "running"


def _open_beside(options: Options, config: Any, job: str | None, number: int, *, samples: bool = False) -> Run:
    """Make the run of another rank or of a child process: it writes nothing, or only its metrics."""
    file = new_file(options, config)
    if job is None:
        return Current.add(Run(file, RunDirectory(options.dir / file.id), None, None))
    from runcast.run.rank_run import RankRun, id_of_rank, is_id_of_rank

    if options.id is None or is_id_of_rank(options.id):  # a resumed run: only rank 0 knows which one
        file.id, folder = id_of_rank(job, number), Path(job)
    else:
        folder = Path(options.id, "ranks")
    try:
        run: RankRun = in_folder(options.dir, lambda root: RankRun(file, root / folder, number))
    except OSError as error:
        return _unrecorded(options, config, error)
    if samples:
        run.sample_node((options.setup or {}).get("system", {}).get("every_s"))
    look_after(run, watch=False)
    return Current.add(run)


def _unrecorded(options: Options, config: Any, error: OSError) -> Run:
    """Make a run that writes nothing, because there is no place to write to; training continues."""
    file = new_file(options, config)
    warn(f"there is no temporary folder either ({error}): nothing of this run is kept. Training continues.")
    run = Run(file, RunDirectory(options.dir / file.id), None, None)
    run.unrecorded = error
    return Current.add(run)


def _is_imported_by_a_child() -> bool:
    """Return whether multiprocessing is importing the script again, in a child that it has spawned.

    Each spawned worker of a DataLoader does so, and runs the unguarded lines of the script again.
    """
    multiprocessing = sys.modules.get("multiprocessing.process")
    return multiprocessing is not None and getattr(multiprocessing.current_process(), "_inheriting", False)


def _known_ids(options: Options, tracker: str) -> Mapping[str, str]:
    """Return the ids that an earlier session of this run has stored for a tracker."""
    if options.id is None or options.resume == "never":
        return {}
    state = load_state(RunDirectory(options.dir / options.id).tracker(tracker))
    return state.ids if state else {}


def _greet(run: Run, file: RunFile, options: Options, remarks: Iterable[str]) -> None:
    reported = {n: "online" if c.online else "local" for n, c in file.trackers.items() if not c.left}
    where = ", ".join(f"{name} {mode}" for name, mode in reported.items()) or "no tracker"
    if reported and file.skipped:
        where = f"{len(reported)} of {len(reported) + len(file.skipped)} trackers (see: runcast doctor): {where}"
    later = " (later, with runcast sync)" if options.delivery == "later" and reported else ""
    say(f"run {run.name} in {shown(run.dir)} → {where}{later}")
    for remark in remarks:
        say(f"  {remark}")
    if reported and not is_known_elsewhere():
        say("  your home cannot be written, so on other machines, runcast sync and verify need --trust for this run")


__all__ = ["check", "init", "is_running"]
