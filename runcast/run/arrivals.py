"""Device values on their way to the host, which become records in the order of logging once they have arrived."""

import contextlib
import time
from collections import deque
from typing import NamedTuple

from runcast.core.foreign import attempt, described
from runcast.journal.records import Metrics
from runcast.values.numbers import DeviceValue, NotANumber, to_number
from runcast.values.scalars import encodable


class Arrived(NamedTuple):
    """The outcome of the device values of one call: a record, and a reason for each lost value."""

    record: Metrics
    lost: dict[str, str]


class Copies:
    """The copies under way; `waiting` is empty when there are none.

    It has no lock, because a signal handler that logs, or ends the run, could wait for it for ever.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, float, dict[str, DeviceValue]]] = deque()

    def add(self, step: int, now: float, copies: dict[str, DeviceValue]) -> None:
        """Take the values of one call of `log`."""
        self.waiting.append((step, now, copies))

    def take_arrived(self, wait_until: float | None = None) -> list[Arrived]:
        """Return the outcomes of the calls whose values have all arrived.

        With a deadline, wait for the others; values that have not arrived by then are lost.
        """
        taken: list[Arrived] = []
        with contextlib.suppress(IndexError):  # another thread, or a handler, has taken the last one
            while self.waiting:
                call = self.waiting[0]
                while not (are_there := all(map(_is_settled, call[2].values()))):
                    if wait_until is None or time.monotonic() > wait_until:
                        break
                    time.sleep(0.001)
                if not are_there and wait_until is None:
                    break
                first = self.waiting.popleft()
                if first is call:
                    taken.append(_read(*call))
                else:  # it was taken meanwhile
                    self.waiting.appendleft(first)
        return taken


def _is_settled(copy: DeviceValue) -> bool:
    """Return whether waiting is over: the value has arrived, or its device is dead and it never will."""
    return attempt(copy.ready, lambda _: True)


def _read(step: int, now: float, copies: dict[str, DeviceValue]) -> Arrived:
    arrived = Arrived(Metrics(time=now, step=step, values={}), {})
    for key, copy in copies.items():
        reason = attempt(
            lambda: "" if copy.ready() else "did not arrive from its device in time",  # noqa: B023 - called at once
            lambda error: f"is on a device that cannot be read ({described(error)})",
        )
        if not reason:
            try:
                arrived.record.values[key] = encodable(to_number(copy.host))
            except NotANumber as error:
                reason = str(error)
        if reason:
            arrived.lost[key] = reason
    return arrived
