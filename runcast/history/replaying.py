"""Delivery of a whole run to a tracker that had no part in it."""

from runcast.core.errors import TrackerUnavailableError
from runcast.delivery.lock import exclusive
from runcast.delivery.ranks import gather_ranks
from runcast.delivery.trust import LEFT_BEHIND, Decide, orders_for
from runcast.history.delivering import Outcome, Progress, Result, deliver, outcome
from runcast.history.preparing import is_opened, save_decisions, stays_local, take_part, untrusted_trackers
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import argument
from runcast.journal.seal import is_own
from runcast.journal.state import IDS, STATE, DeliveryState, load_state, waiting_for


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
    untrusted = untrusted_trackers(directory, file, decide, None, own=own)
    if name in untrusted:
        raise TrackerUnavailableError(f"{name}: {untrusted[name]}")
    opened = is_opened(load_state(directory.tracker(name)))
    if opened and not again:
        return _already(directory, file, name, decide)
    choice = decide(name, offline)
    if choice.measures:
        raise TrackerUnavailableError(f"{name} measures a running training, so nothing can be replayed to it.")
    if opened:
        _forget(directory, file, name, choice)
    take_part(file, name, choice)
    file.skipped.pop(name, None)
    save_decisions(directory, file, own=own or not untrusted)
    return deliver(directory, {name: orders_for(directory, file, name, own=own, decide=decide)}, progress)[name]


def _already(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> Outcome:
    state = load_state(directory.tracker(name)) or DeliveryState()
    waiting = waiting_for(directory.journal, name, state.cursor).points
    command = f"runcast sync {argument(directory.path)} --tracker {name}"
    result: Result = "waiting" if waiting else "complete" if state.phase == "finished" else "open"
    note = f"it has this run already{f'; deliver new records with: {command}' if waiting else ''}"
    return outcome(
        directory, name, result, state, waiting=waiting, note=stays_local(directory, file, name, decide) or note
    )


def _forget(directory: RunDirectory, file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Reset a tracker that has the run locally, so that it starts over online. Its local files stay, in `local/`.

    Where they were, it would take them for what an earlier session has left, and send or count them, too.

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
        folder, kept = directory.tracker(name), (IDS, STATE)
        (folder / "local").mkdir(exist_ok=True)
        for entry in sorted(folder.iterdir()):
            if entry.name not in (*kept, *LEFT_BEHIND, "local"):
                entry.rename(folder / "local" / entry.name)
        for file_name in kept:  # in this order: a state without ids means that the run was not opened
            (folder / file_name).unlink(missing_ok=True)
