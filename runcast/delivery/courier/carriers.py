"""Opening the deliveries of a run, each in its place: a child process or a thread."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runcast.core.errors import OptionError, RuncastError
from runcast.delivery.courier.children import ProcessCarrier
from runcast.delivery.trust import LABELS, orders_for_training
from runcast.integrations.contract import Tracker
from runcast.journal.layout import RunDirectory, RunFile, TrackerChoice
from runcast.journal.state import Carrier, DeliveryState
from runcast.redaction.tree import redact_under


class CarrierGroup:
    """Several carriers as one."""

    def __init__(self, carriers: list[Carrier]) -> None:
        self._carriers = carriers

    def check(self) -> RuncastError | None:
        """Check all; return the newest failure."""
        failures = [carrier.check() for carrier in self._carriers]
        return next((failure for failure in failures if failure), None)

    def states(self) -> Mapping[str, DeliveryState]:
        """Join the states of all."""
        return {name: state for carrier in self._carriers for name, state in carrier.states().items()}

    def flush(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait for one after the other within the same time; they all work meanwhile."""
        return self._each(lambda carrier, left_s: carrier.flush(size_bytes, left_s), timeout_s)

    def finish(self, size_bytes: int, timeout_s: float) -> bool:
        """Wait for one after the other within the same time; they all work meanwhile."""
        return self._each(lambda carrier, left_s: carrier.finish(size_bytes, left_s), timeout_s)

    def _each(self, wait: Callable[[Carrier, float], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        done = [wait(carrier, max(0.0, deadline - time.monotonic())) for carrier in self._carriers]
        return all(done)

    def abandon(self) -> None:
        """Forget all."""
        for carrier in self._carriers:
            carrier.abandon()


def open_carrier(
    directory: RunDirectory,
    file: RunFile,
    chosen: Mapping[str, TrackerChoice],
    objects: Mapping[str, Tracker],
    setup: Mapping[str, Mapping[str, Any]],
    delivery: str,
) -> Carrier:
    """Start the deliveries to the chosen trackers, and to Tracker objects in threads.

    Raises:
        OptionError: An option in `setup` cannot travel to another process.
    """
    own = {name: _without_secrets(setup.get(name, {})) for name in (*chosen, *objects)}
    for name, options in own.items():
        try:
            msgspec.json.encode(options)
        except (TypeError, ValueError):
            if delivery == "process" and name in chosen:
                raise OptionError(
                    f"setup[{name!r}] holds an object that cannot travel to another process. Use plain values, or "
                    "delivery='thread'."
                ) from None
    carriers: list[Carrier] = []
    if delivery == "process" and chosen:
        orders = {name: orders_for_training(choice, own[name]) for name, choice in chosen.items()}
        carriers.append(ProcessCarrier(directory, orders, file.session))
    if objects or delivery == "thread":
        from runcast.delivery.courier.threads import ThreadCarrier

        targets: dict[str, Tracker | TrackerChoice] = {**(chosen if delivery == "thread" else {}), **objects}
        carriers.append(ThreadCarrier(directory, file, targets, own))
    return carriers[0] if len(carriers) == 1 else CarrierGroup(carriers)


def _without_secrets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Redact the options that a tracker shows; from the others it logs in."""
    return {key: redact_under(key, value) if key in LABELS else value for key, value in options.items()}
