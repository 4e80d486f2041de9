"""How often deliveries are woken, and how large a share of the processors they get.

While a processor is free they are woken every second that brings news. While all are busy they are woken rarely, so
that batches are large, and have the lowest priority; the longer they need to catch up, the higher it is. What they cost
a training is the work to be done, so priority decides only when it is paid.
"""

import os
import time

import psutil

from runcast.delivery.courier.system import LOWEST, NICENESS, set_group_niceness

FREE_S, BUSY_S = 1.0, 10.0  # between two calls, by whether a processor is free
IDLE_CORES = 0.3  # processors that were idle, together, since the last look: then one is free
# Seconds for which deliveries have wanted a processor since a call that they have not answered yet → their niceness. An
# SDK that computes for more than a minute is not to take it from the training.
SHARES = ((2.0, LOWEST), (8.0, NICENESS), (60.0, 0), (float("inf"), NICENESS))


class Pace:
    """The pace of one courier's deliveries."""

    def __init__(self) -> None:
        self._idle_s, self._seen_at = _idle_s(), time.monotonic()
        self._called_at = float("-inf")
        self._niceness = 0
        self._owns_group = os.getsid(0) == os.getpid()
        self.is_free = True
        self.is_hurried = False

    def look(self) -> None:
        """See whether a processor has been free since the last look."""
        now = time.monotonic()
        if now - self._seen_at >= FREE_S / 2:
            idle_s = _idle_s()
            if idle_s is not None and self._idle_s is not None:
                self.is_free = (idle_s - self._idle_s) / (now - self._seen_at) >= IDLE_CORES
            self._idle_s, self._seen_at = idle_s, now

    def is_time(self) -> bool:
        """Return whether deliveries may be called for news now; if so, they are."""
        now = time.monotonic()
        if not self.is_hurried and now - self._called_at < (FREE_S if self.is_free else BUSY_S):
            return False
        self._called_at = now
        return True

    def share(self, late_s: float) -> None:
        """Give the deliveries their share of the processors: for *late_s* they have wanted one to catch up."""
        niceness = 0 if self.is_hurried else next(value for limit_s, value in SHARES if late_s < limit_s)
        if self._owns_group and niceness != self._niceness and set_group_niceness(os.getpid(), niceness):
            self._niceness = niceness


def _idle_s() -> float | None:
    """Return how long the processors that this process may use have been idle so far, together, in seconds.

    Slurm gives a job a few of its node's. None where the system does not say: in a chroot or a sandbox without /proc.
    """
    try:
        every = psutil.cpu_times(percpu=True)
    except OSError:
        return None
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(every))
    mine = [times for number, times in enumerate(every) if number in usable]
    return float(sum(times.idle + getattr(times, "iowait", 0.0) for times in mine))
