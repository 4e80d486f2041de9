"""Delivering later, by the same loop over the same journal: what a tracker lacks (`sync`), or all of it (`replay`)."""

from collections.abc import Callable, Collection
from typing import TypeAlias

import msgspec

from runcast.core.errors import OptionError, TrackerUnavailableError, UnknownTrackerError
from runcast.core.layout import RunDirectory, RunFile, TrackerChoice
from runcast.core.records import Status
from runcast.core.state import DeliveryState, load_state, save_state
from runcast.delivery.liveness import end_run, is_training, last_status
from runcast.delivery.lock import exclusive, is_held
from runcast.delivery.once import Outcome, Progress, Result, deliver, outcome
from runcast.delivery.overview import shown, waiting_points

# Decides how a tracker takes part here and now, given its name and whether offline was asked for:
# `runcast.autodetect.decide`. An argument, as this folder knows nothing of autodetection.
Decide: TypeAlias = Callable[[str, bool | None], TrackerChoice]


def sync(
    directory: RunDirectory,
    names: Collection[str] | None = None,
    *,
    decide: Decide,
    offline: bool | None = None,
    mend: bool = False,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Deliver what each tracker of a run lacks, all at the same time; return what became of each.

    A tracker that has never opened the run is decided afresh, with the credentials of here and now; one that has
    stays as it was begun.

    Args:
        directory: The run's folder, which may have been moved.
        names: The trackers; default: all that have a part in the run.
        decide: Decides how a tracker takes part.
        offline: True: local modes only. False: online only. None: as the run was begun.
        mend: Whether to read each tracker back first, and to deliver again what it has lost. One that has refused
            something is always asked again.
        progress: Called now and then with a tracker, the points that it has and the points that it will have.

    Raises:
        OptionError: A tracker has no part in the run.
    """
    file = directory.load()
    chosen = list(file.trackers if names is None else names)
    for name in chosen:
        if name not in file.trackers:
            command = f"runcast replay {shown(directory.path)} --to {name}"
            raise OptionError(f"{name} has no part in this run. Cast it there with: {command}")
    settled = {name: _settle(directory, file, name, decide, offline, mend) for name in chosen}
    directory.save(file)
    delivered = deliver(directory, [name for name in chosen if settled[name] is None], progress)
    return [settled[name] or delivered[name] for name in chosen]


def replay(
    directory: RunDirectory,
    name: str,
    *,
    decide: Decide,
    offline: bool | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Cast a run, from its first record on, to a tracker that had no part in it.

    Args:
        directory: The run's folder.
        name: The tracker.
        decide: Decides how it takes part.
        offline: True: local mode only. False: online only.
        again: Whether a tracker that has the run locally gets it once more, online.
        progress: Called now and then with the tracker, the points that it has and the points that it will have.

    Raises:
        TrackerUnavailableError: It cannot be used here, or cannot take this run.
    """
    file = directory.load()
    opened = _is_opened(load_state(directory.tracker(name)))
    if opened and not again:
        return _already(directory, file, name, decide)
    choice = decide(name, offline)
    if choice.measures:
        raise TrackerUnavailableError(f"{name} measures a training while it runs; there is nothing to replay to it.")
    if opened:
        _forget(directory, file, name, choice)
    _take_part(file, name, choice)
    file.skipped.pop(name, None)
    directory.save(file)
    return deliver(directory, [name], progress)[name]


def close(directory: RunDirectory, status: Status) -> None:
    """Write the end of a run whose training process died on a machine that cannot be seen from here.

    Raises:
        OptionError: The run has its end already, or still trains.
    """
    file = directory.load()
    if ended := last_status(directory):
        raise OptionError(f"The run {file.id} has its end already: it is {ended}.")
    if is_training(file):
        raise OptionError(f"The run {file.id} still trains, as process {file.pid}: it writes its own end.")
    end_run(directory, status)


def _settle(
    directory: RunDirectory, file: RunFile, name: str, decide: Decide, offline: bool | None, mend: bool
) -> Outcome | None:
    """Decide how a tracker is delivered to, and write it into *file*; return the outcome if there is nothing to do."""
    folder = directory.tracker(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    choice, state = file.trackers[name], load_state(folder)
    mend = mend or bool(state is not None and state.refused)  # what it refused, it may take now
    if state is not None and state.phase == "finished" and _has_all(directory, choice, state) and not mend:
        return outcome(directory, name, "complete", state, note=_stays_local(directory, file, name, decide))
    if choice.measures and not _is_opened(state):
        return Outcome(
            name=name, result="absent", note="it measured nothing, as it was not there while the run trained"
        )
    if is_held(folder):
        return outcome(directory, name, "busy", state, note="another process is delivering to it")
    if state is not None and _is_opened(state):
        if mend:
            state.phase, state.clean = "suspended", False  # as after a sudden death: the next delivery asks the tracker
            save_state(folder, state)
        return None
    if offline is None and choice.reason == "offline=True":
        offline = True  # the script asked for it; only the user at the command line may say otherwise
    try:
        _take_part(file, name, decide(name, offline))
    except UnknownTrackerError:
        pass  # a class of the user's own: there is nothing to decide
    except TrackerUnavailableError as error:
        waiting = waiting_points(directory.journal, 0, name)
        return outcome(directory, name, "unavailable", state, waiting=waiting, note=str(error))
    return None


def _take_part(file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Let a tracker take part as chosen, with the options that the user gave it in the script."""
    options = file.trackers[name].options if name in file.trackers else {}
    file.trackers[name] = msgspec.structs.replace(choice, options=options)


def _is_opened(state: DeliveryState | None) -> bool:
    """Tell whether the tracker has, or may have, a part of the run."""
    return state is not None and bool(state.url or state.cursor or state.ids)


def _has_all(directory: RunDirectory, choice: TrackerChoice, state: DeliveryState) -> bool:
    """Tell whether the journal holds nothing new; what a meter has not read is what it wrote itself."""
    return choice.measures or directory.journal.stat().st_size <= state.cursor


def _already(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> Outcome:
    state = load_state(directory.tracker(name)) or DeliveryState()
    waiting = waiting_points(directory.journal, state.cursor, name)
    result: Result = "waiting" if waiting else "complete" if state.phase == "finished" else "open"
    note = (
        f"it has this run already{f'; what is new comes with: runcast sync {shown(directory.path)}' if waiting else ''}"
    )
    return outcome(
        directory, name, result, state, waiting=waiting, note=_stays_local(directory, file, name, decide) or note
    )


def _stays_local(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> str | None:
    """Say how to send a run online that was begun locally, if there are credentials now."""
    try:
        now = decide(name, None)
    except (UnknownTrackerError, TrackerUnavailableError):
        return None
    if file.trackers[name].online or not now.online:
        return None
    command = f"runcast replay {shown(directory.path)} --to {name} --again"
    return f"it stays local, as it was begun. To send it online ({now.reason}): {command}"


def _forget(directory: RunDirectory, file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Let a tracker that has the run locally begin anew, online. Its local files stay.

    Raises:
        TrackerUnavailableError: It is online already, or would be local again: the run would be there twice.
    """
    if file.trackers[name].online or not choice.online:
        where = "online" if file.trackers[name].online else "locally"
        raise TrackerUnavailableError(
            f"{name} has this run {where} already and would have it twice. "
            "--again sends a local run online, once credentials are configured."
        )
    with exclusive(directory.tracker(name)) as is_free:
        if not is_free:
            raise TrackerUnavailableError(
                f"Another process is delivering the run {file.id} to {name}. Try again later."
            )
        (directory.tracker(name) / "state.json").unlink()
