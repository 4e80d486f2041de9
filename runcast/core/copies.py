"""Device values on their way to the host: they become records when they have arrived, in the order of their logging."""

import threading
import time

from runcast.core.records import Metrics, encodable
from runcast.core.values import DeviceValue, to_number


class Copies:
    """Holds the copies that are under way; `waiting` is empty when there are none."""

    def __init__(self) -> None:
        self.waiting: list[tuple[int, float, dict[str, DeviceValue]]] = []
        self._lock = threading.Lock()

    def add(self, step: int, now: float, copies: dict[str, DeviceValue]) -> None:
        """Take the values of one call of `log`."""
        with self._lock:
            self.waiting.append((step, now, copies))

    def take_arrived(self, wait_until: float | None = None) -> list[Metrics]:
        """Return the records of the calls whose values have all arrived; with a deadline, wait for the others."""
        records: list[Metrics] = []
        with self._lock:
            for step, now, copies in self.waiting:
                while not (arrived := all(copy.ready() for copy in copies.values())):
                    if wait_until is None or time.monotonic() > wait_until:
                        break
                    time.sleep(0.001)
                if not arrived:
                    break
                values = {key: encodable(to_number(copy.host)) for key, copy in copies.items()}
                records.append(Metrics(time=now, step=step, values=values))
            self.waiting = self.waiting[len(records) :]
        return records
