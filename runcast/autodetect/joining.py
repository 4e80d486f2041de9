"""Runs that the script has opened itself: joined, or left alone with a message."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from runcast.integrations.open_runs import OpenRun, find_open_run
from runcast.integrations.table import TABLE
from runcast.journal.layout import TrackerChoice


class Joining(NamedTuple):
    """The choices and options that join open runs, and a sentence about each open run."""

    chosen: dict[str, TrackerChoice]
    setup: dict[str, Mapping[str, Any]]
    remarks: list[str]


def join_open_runs(
    chosen: Mapping[str, TrackerChoice],
    setup: Mapping[str, Mapping[str, Any]],
    *,
    delivery: str,
    offline: bool | None,
    known_ids: Callable[[str], Mapping[str, str]],
) -> Joining:
    """Join the runs that this script has open, where the service allows it.

    Args:
        chosen: How each tracker takes part.
        setup: The user's own options for each tracker.
        delivery: Where deliveries run: "process", "thread" or "later".
        offline: As given to `init`.
        known_ids: Returns the ids that an earlier session of the run has stored for a tracker.
    """
    joining = Joining(dict(chosen), dict(setup), [])
    for name, choice in chosen.items():
        found = find_open_run(name)
        own = setup.get(name, {})
        if found is None or found.chosen_by & set(own):
            continue
        if found.attach is not None:
            joining.setup[name] = {**found.attach(), **own}
            continue
        known = known_ids(name)
        if known and found.id not in known.values():
            said = f"resumes its earlier run, not {found.name!r}, which this script has opened"
        elif found.options and not (offline and _is_on_server(name, found, choice)):
            online = _is_on_server(name, found, choice)
            joining.chosen[name] = msgspec.structs.replace(choice, online=online, reason="the script's open run")
            joining.setup[name] = {**own, **found.options}
            said = f"writes into the run {found.name!r}, which this script has opened, and leaves it open"
        elif delivery == "thread" and not found.options:
            said = f"writes into the run {found.name!r}, which this script has opened, and leaves it open"
        else:
            joining.setup[name] = {**own, **found.apart}
            how = "leave out offline=True" if found.options else "choose delivery='thread'"
            said = f"opens a run of its own; to write into {found.name!r}, which this script has opened, {how}"
        joining.remarks.append(f"{name} {said}")
    return joining


def _is_on_server(name: str, found: OpenRun, choice: TrackerChoice) -> bool:
    """Return whether an open run is on a server, judged by its address or else by the tracker's mode."""
    address = found.options.get("tracking_uri")
    return choice.online if address is None else TABLE[name].is_server(address)
