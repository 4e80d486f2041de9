"""Deciding how a run on disk is delivered to each of its trackers: by orders, or not, with the reason."""

from collections.abc import Collection, Mapping

import msgspec

from runcast.core.errors import TrackerUnavailableError, UnknownTrackerError
from runcast.delivery.lock import is_held
from runcast.delivery.sending.refusals import refusals
from runcast.delivery.trust import Decide, Orders, orders_for
from runcast.history.delivering import BUSY, Outcome, outcome
from runcast.integrations.table import TABLE, is_at_server
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.paths import argument, make_private
from runcast.journal.reader import journal_size
from runcast.journal.seal import is_own, seal_of
from runcast.journal.state import DeliveryState, load_state, waiting_for
from runcast.redaction.tree import REDACTED


def prepare(
    directory: RunDirectory,
    file: RunFile,
    names: Collection[str],
    *,
    decide: Decide,
    offline: bool | None,
    mend: bool,
    trust: bool,
    classes: Mapping[str, str] | None,
) -> tuple[dict[str, Outcome], dict[str, Orders]]:
    """Decide how to deliver to each of these trackers: by orders, or not, with the outcome."""
    own = trust or is_own(file)
    untrusted = untrusted_trackers(directory, file, decide, classes, own=own)
    settled = {}
    for name in names:
        if name in untrusted:
            found: Outcome | None = _unavailable(directory, name, untrusted[name])
        else:
            found = _settle(directory, file, name, decide, offline, mend)
        if found is not None:
            settled[name] = found
    save_decisions(directory, file, own=own or not untrusted)
    orders = {
        name: msgspec.structs.replace(
            orders_for(directory, file, name, own=own, decide=decide, classes=classes),
            ask=_must_read_back(load_state(directory.tracker(name)), mend),
        )
        for name in names
        if name not in settled
    }
    return settled, orders


def untrusted_trackers(
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


def save_decisions(directory: RunDirectory, file: RunFile, *, own: bool) -> None:
    """Write run.json, with our seal if all of its entries were decided by this user.

    If a new session has begun meanwhile, its decisions take precedence.
    """
    file.seal = seal_of(file) if own else ""
    with directory.settled():
        if directory.load().session == file.session:
            directory.save(file)


def _unavailable(directory: RunDirectory, name: str, why: str) -> Outcome:
    state = load_state(directory.tracker(name))
    waiting = waiting_for(directory.journal, name, state.cursor if state else 0).points
    return outcome(directory, name, "unavailable", state, waiting=waiting, note=why)


def _settle(
    directory: RunDirectory, file: RunFile, name: str, decide: Decide, offline: bool | None, mend: bool
) -> Outcome | None:
    """Decide how to deliver to a tracker, and note it in *file*; return the outcome if there is nothing to do."""
    folder = directory.tracker(name)
    make_private(folder)
    state = load_state(folder)
    kept_away = _return_to_server(directory, file, name, state, decide, offline)
    choice = file.trackers[name]
    if state is not None and _has_all(directory, choice, state) and not _must_read_back(state, mend):
        return outcome(directory, name, "complete", state, note=stays_local(directory, file, name, decide))
    if choice.measures and not is_opened(state):
        return Outcome(
            name=name, result="absent", note="it measured nothing, because it was not running during the training"
        )
    if is_held(folder):
        return outcome(directory, name, "busy", state, note=BUSY)
    if is_opened(state):
        return kept_away
    if offline is None and _has_chosen(name, choice):
        return None
    if offline is None and choice.reason == "offline=True":
        offline = True  # the script asked for it; only the command line may override that
    try:
        take_part(file, name, decide(name, offline))
    except UnknownTrackerError:
        pass  # the user's own class: there is nothing to decide
    except TrackerUnavailableError as error:
        return _unavailable(directory, name, str(error))
    return None


def _return_to_server(
    directory: RunDirectory, file: RunFile, name: str, state: DeliveryState | None, decide: Decide, offline: bool | None
) -> Outcome | None:
    """Let a run that is at a server go on there, whatever its last session could reach; return why it cannot now.

    That session may have trained offline, or the run.json of the machine that trains was copied over this one.
    """
    if state is None or file.trackers[name].online or not is_at_server(name, state.url):
        return None
    try:
        now = decide(name, offline)
    except TrackerUnavailableError as error:
        return _unavailable(directory, name, f"the run is on {state.url}, and {error}")
    if not now.online:
        return _unavailable(directory, name, f"the run is on {state.url}, and {name} is local here: {now.reason}")
    take_part(file, name, now)
    return None


def _has_chosen(name: str, choice: TrackerChoice) -> bool:
    """Return whether the script's own options say where the run goes, as an address or a switch does.

    What `init` has decided with them holds; a secret among them is not in run.json.
    """
    row = TABLE.get(name)
    deciding = set() if row is None else {*row.switches, *(address.option for address in row.addresses)}
    return any(REDACTED not in str(choice.options[option]) for option in deciding & choice.options.keys())


def take_part(file: RunFile, name: str, choice: TrackerChoice) -> None:
    """Make a tracker take part as chosen, with the user's options from the script."""
    options = file.trackers[name].options if name in file.trackers else {}
    file.trackers[name] = msgspec.structs.replace(choice, options=options)


def is_opened(state: DeliveryState | None) -> bool:
    """Return whether the tracker has, or may have, received part of the run."""
    return state is not None and bool(state.url or state.cursor or state.sending or state.ids)


def _must_read_back(state: DeliveryState | None, mend: bool) -> bool:
    """Return whether to read a tracker back although its delivery ended well: it may now accept refused values."""
    return state is not None and is_opened(state) and (mend or bool(refusals(state)))


def _has_all(directory: RunDirectory, choice: TrackerChoice, state: DeliveryState) -> bool:
    """Return whether the run is closed and the journal holds nothing new for the tracker."""
    has_nothing_new = choice.measures or journal_size(directory.journal) <= state.cursor
    return state.phase == "finished" and has_nothing_new


def stays_local(directory: RunDirectory, file: RunFile, name: str, decide: Decide) -> str | None:
    """Return how to send a local run online, if there are credentials now."""
    try:
        now = decide(name, None)
    except (UnknownTrackerError, TrackerUnavailableError):
        return None
    if file.trackers[name].online or not now.online:
        return None
    command = f"runcast replay {argument(directory.path)} --to {name} --again"
    return f"the run stays local, as it was opened. To send it online ({now.reason}): {command}"
