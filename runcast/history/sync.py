"""Later delivery by the same loop over the same journal: of what a tracker lacks (`sync`), or everything (`replay`)."""

from collections.abc import Collection, Mapping

import msgspec

from runcast.core.errors import OptionError, TrackerUnavailableError, UnknownTrackerError
from runcast.delivery.courier.once import Outcome, Progress, Result, deliver, follow, outcome
from runcast.delivery.liveness import end_run, ended_at, is_training, last_status
from runcast.delivery.lock import exclusive, is_held
from runcast.delivery.ranks import gather_ranks
from runcast.delivery.recovery import waiting_points
from runcast.delivery.sending.refusals import refusals
from runcast.delivery.trust import Decide, orders_for
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import make_private, shown
from runcast.journal.reader import journal_size
from runcast.journal.records import Status
from runcast.journal.seal import is_own, seal_of
from runcast.journal.state import DeliveryState, is_over, load_state


def sync(
    directory: RunDirectory,
    names: Collection[str] | None = None,
    *,
    decide: Decide,
    offline: bool | None = None,
    mend: bool = False,
    trust: bool = False,
    classes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    wait: bool = False,
) -> list[Outcome]:
    """Deliver what each tracker of a run lacks, all at once; return the outcomes.

    For a tracker that has never opened the run, the mode is decided again with the present credentials; any other keeps
    its mode.

    Args:
        directory: The run's folder, which may have been moved.
        names: The trackers; default: all those of the run's last session.
        decide: Decides how a tracker takes part.
        offline: True: local modes only. False: online only. None: as chosen for the run.
        mend: Whether to read each tracker back first, and to deliver again what it has lost. A tracker that has refused
            values is always asked again.
        trust: Whether to trust a run that was begun elsewhere: to use its options and tracker classes, and to continue
            from what was delivered there.
        classes: The user's own tracker classes, as "module:Class" by name.
        progress: Called repeatedly with a tracker, the points that it has and the points that it will have.
        wait: Whether to hurry a running delivery of another process and wait until it has delivered the present
            records. Otherwise its tracker is "busy".

    Raises:
        OptionError: A tracker has no part in the run.
    """
    file = directory.load()
    gather_ranks(directory, file)
    chosen = _taking_part(directory, file) if names is None else list(names)
    for name in chosen:
        if name not in file.trackers:
            command = f"runcast replay {shown(directory.path)} --to {name}"
            raise OptionError(f"{name} has no part in this run. Send the run there with: {command}")
        file.trackers[name] = msgspec.structs.replace(file.trackers[name], left=False)
    own = trust or is_own(file)
    untrusted = _untrusted(directory, file, decide, classes, own=own)

    def deliver_now(names: Collection[str]) -> dict[str, Outcome]:
        settled = {
            name: _unavailable(directory, name, untrusted[name])
            if name in untrusted
            else _settle(directory, file, name, decide, offline, mend)
            for name in names
        }
        _save(directory, file, own=own or not untrusted)
        orders = {
            name: msgspec.structs.replace(
                orders_for(directory, file, name, own=own, decide=decide, classes=classes),
                ask=_must_read_back(load_state(directory.tracker(name)), mend),
            )
            for name in names
            if settled[name] is None
        }
        meters = {name: order for name, order in orders.items() if file.trackers[name].measures}
        others = {name: order for name, order in orders.items() if name not in meters}
        # The meters first: measurements that they could not write yet go to the others.
        delivered = {**deliver(directory, meters, progress), **deliver(directory, others, progress)}
        return {name: settled[name] or delivered[name] for name in names}

    outcomes: dict[str, Outcome] = {}
    while left := [name for name in chosen if name not in outcomes]:
        busy = [name for name in left if wait and is_held(directory.tracker(name))]
        found = deliver_now([name for name in left if name not in busy]) | follow(directory, busy, progress)
        outcomes |= {name: one for name, one in found.items() if not (wait and one.result == "busy")}
    return [outcomes[name] for name in chosen]


def _taking_part(directory: RunDirectory, file: RunFile) -> list[str]:
    """List the trackers of the run's last session, without those that the script itself has served completely."""
    found = [name for name, choice in file.trackers.items() if not choice.left]
    states = {name: load_state(directory.tracker(name)) for name in found if not file.trackers[name].tracker}
    served = {name for name, state in states.items() if state is not None and is_over(state, file.session)}
    return [name for name in found if name not in served]


def replay(
    directory: RunDirectory,
    name: str,
    *,
    decide: Decide,
    offline: bool | None = None,
    again: bool = False,
    trust: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Deliver a run, from its first record on, to a tracker that had no part in it.

    Args:
        directory: The run's folder.
        name: The tracker.
        decide: Decides how the tracker takes part.
        offline: True: local mode only. False: online only.
        again: Whether a tracker that has the run locally receives it once more, online.
        trust: Whether to use the options of a run that was begun elsewhere.
        progress: Called repeatedly with the tracker, the points that it has and the points that it will have.

    Raises:
        TrackerUnavailableError: It cannot be used here, or cannot take this run.
    """
    file = directory.load()
    gather_ranks(directory, file)
    own = trust or is_own(file)
    untrusted = _untrusted(directory, file, decide, None, own=own)
    if name in untrusted:
        raise TrackerUnavailableError(f"{name}: {untrusted[name]}")
    opened = _is_opened(load_state(directory.tracker(name)))
    if opened and not again:
        return _already(directory, file, name, decide)
    choice = decide(name, offline)
    if choice.measures:
        raise TrackerUnavailableError(f"{name} measures a running training, so nothing can be replayed to it.")
    if opened:
        _forget(directory, file, name, choice)
    _take_part(file, name, choice)
    file.skipped.pop(name, None)
    _save(directory, file, own=own or not untrusted)
    return deliver(directory, {name: orders_for(directory, file, name, own=own, decide=decide)}, progress)[name]


def close(directory: RunDirectory, status: Status) -> None:
    """Write the end of a run whose training process died on a machine that cannot be seen from here.

    Raises:
        OptionError: The run has already ended, or is still training.
    """
    file = directory.load()
    if ended := last_status(directory):
        raise OptionError(f"The run {file.id} has already ended: it is {ended}.")
    if is_training(file):
        raise OptionError(f"The run {file.id} still trains, as process {file.pid}: it writes its own end.")
    end_run(directory, status, time_s=ended_at(directory))


def _untrusted(
    directory: RunDirectory, file: RunFile, decide: Decide, classes: Mapping[str, str] | None, *, own: bool
) -> dict[str, str]:
    """Return why a run that was begun elsewhere is not delivered to some of its trackers, by tracker.

    For the others, the class in run.json is replaced by the one that the tracker's name denotes here.
    """
    untrusted = {}
    for name, choice in file.trackers.items():
        try:
            orders = orders_for(directory, file, name, own=own, decide=decide, classes=classes)
        except TrackerUnavailableError as error:
            untrusted[name] = str(error)
        else:
            file.trackers[name] = msgspec.structs.replace(
                choice, tracker=orders.tracker, environment=orders.environment
            )
    return untrusted


def _save(directory: RunDirectory, file: RunFile, *, own: bool) -> None:
    """Write run.json, with our seal if all of its entries were decided by this user.

    If a new session has begun meanwhile, its decisions take precedence.
    """
    file.seal = seal_of(file) if own else ""
    with directory.settled():
        if directory.load().session == file.session:
            directory.save(file)


def _unavailable(directory: RunDirectory, name: str, why: str) -> Outcome:
    state = load_state(directory.tracker(name))
    waiting = waiting_points(directory.journal, state.cursor if state else 0, name)
    return outcome(directory, name, "unavailable", state, waiting=waiting, note=why)


def _settle(
    directory: RunDirectory, file: RunFile, name: str, decide: Decide, offline: bool | None, mend: bool
) -> Outcome | None:
    """Decide how to deliver to a tracker, and note it in *file*; return the outcome if there is nothing to do."""
    folder = directory.tracker(name)
    make_private(folder)
    choice, state = file.trackers[name], load_state(folder)
    if state is not None and _has_all(directory, choice, state) and not _must_read_back(state, mend):
        return outcome(directory, name, "complete", state, note=_stays_local(directory, file, name, decide))
    if choice.measures and not _is_opened(state):
        return Outcome(
            name=name, result="absent", note="it measured nothing, because it was not running during the training"
        )
    if is_held(folder):
        return outcome(directory, name, "busy", state, note="another process is delivering to it")
    if _is_opened(state):
        return None
    if offline is None and choice.reason == "offline=True":
        offline = True  # the script asked for it; only the command line may override that
    try:
        _take_part(file, name, decide(name, offline))
    except UnknownTrackerError:
        pass  # the user's own class: there is nothing to decide
    except TrackerUnavailableError as error:
        return _unavailable(directory, name, str(error))
    return None


def _take_part(file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Make a tracker take part as chosen, with the user's options from the script."""
    options = file.trackers[name].options if name in file.trackers else {}
    file.trackers[name] = msgspec.structs.replace(choice, options=options)


def _is_opened(state: DeliveryState | None) -> bool:
    """Return whether the tracker has, or may have, received part of the run."""
    return state is not None and bool(state.url or state.cursor or state.sending or state.ids)


def _must_read_back(state: DeliveryState | None, mend: bool) -> bool:
    """Return whether to read a tracker back although its delivery ended well: it may now accept refused values."""
    return state is not None and _is_opened(state) and (mend or bool(refusals(state)))


def _has_all(directory: RunDirectory, choice: TrackerChoice, state: DeliveryState) -> bool:
    """Return whether the run is closed and the journal holds nothing new for the tracker."""
    has_nothing_new = choice.measures or journal_size(directory.journal) <= state.cursor
    return state.phase == "finished" and has_nothing_new


def _already(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> Outcome:
    state = load_state(directory.tracker(name)) or DeliveryState()
    waiting = waiting_points(directory.journal, state.cursor, name)
    command = f"runcast sync {shown(directory.path)} --tracker {name}"
    result: Result = "waiting" if waiting else "complete" if state.phase == "finished" else "open"
    note = f"it has this run already{f'; deliver new records with: {command}' if waiting else ''}"
    return outcome(
        directory, name, result, state, waiting=waiting, note=_stays_local(directory, file, name, decide) or note
    )


def _stays_local(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> str | None:
    """Return how to send a local run online, if there are credentials now."""
    try:
        now = decide(name, None)
    except (UnknownTrackerError, TrackerUnavailableError):
        return None
    if file.trackers[name].online or not now.online:
        return None
    command = f"runcast replay {shown(directory.path)} --to {name} --again"
    return f"the run stays local, as it was opened. To send it online ({now.reason}): {command}"


def _forget(directory: RunDirectory, file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Reset a tracker that has the run locally, so that it starts over online. Its local files stay.

    Raises:
        TrackerUnavailableError: It is already online, or would be local again, so the run would be there twice.
    """
    if file.trackers[name].online or not choice.online:
        where = "online" if file.trackers[name].online else "locally"
        raise TrackerUnavailableError(
            f"{name} has this run {where} already and would have it twice. Use --again to send a local run "
            f"online, once credentials are configured."
        )
    with exclusive(directory.tracker(name)) as is_free:
        if not is_free:
            raise TrackerUnavailableError(
                f"Another process is delivering the run {file.id} to {name}. Try again later."
            )
        for kept in ("ids.json", "state.json"):  # in this order: a state without ids means that the run was not opened
            (directory.tracker(name) / kept).unlink(missing_ok=True)
