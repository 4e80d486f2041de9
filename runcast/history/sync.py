"""Later delivery, by the same loop over the same journal, of what each tracker lacks."""

import functools
from collections.abc import Collection, Mapping

import msgspec

from runcast.core.errors import OptionError
from runcast.delivery.liveness import end_run, ended_at, is_training, last_status
from runcast.delivery.lock import is_held
from runcast.delivery.ranks import gather_ranks
from runcast.delivery.trust import Decide, Orders
from runcast.history.delivering import Outcome, Progress, deliver, follow
from runcast.history.preparing import prepare
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import argument
from runcast.journal.records import Status
from runcast.journal.state import is_over, load_state


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
    its mode, and where the run is at a server, it goes on there.

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
            command = f"runcast replay {argument(directory.path)} --to {name}"
            raise OptionError(f"{name} has no part in this run. Send the run there with: {command}")
        file.trackers[name] = msgspec.structs.replace(file.trackers[name], left=False)
    prepare_these = functools.partial(
        prepare, directory, file, decide=decide, offline=offline, mend=mend, trust=trust, classes=classes
    )

    def deliver_now(names: Collection[str]) -> dict[str, Outcome]:
        settled, orders = prepare_these(names)
        meters = {name: order for name, order in orders.items() if file.trackers[name].measures}
        others = {name: order for name, order in orders.items() if name not in meters}
        # The meters first: measurements that they could not write yet go to the others.
        return settled | deliver(directory, meters, progress) | deliver(directory, others, progress)

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


def orders_now(
    directory: RunDirectory, *, decide: Decide, offline: bool | None = None, trust: bool = False
) -> tuple[dict[str, Outcome], dict[str, Orders]]:
    """Return the orders for all trackers of a run that lack something, but for meters; and why others get none.

    The arguments are those of `sync`.

    Raises:
        JournalError: The folder is not a run, or is damaged.
    """
    file = directory.load()
    gather_ranks(directory, file)
    names = [name for name in _taking_part(directory, file) if not file.trackers[name].measures]
    return prepare(directory, file, names, decide=decide, offline=offline, mend=False, trust=trust, classes=None)


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
