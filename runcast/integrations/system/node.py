"""The samples of a job's other nodes under `per_rank`: a thread in the first process of each, beside its metrics.

The first node has the meter of the run's deliveries. The nodes need not communicate: each knows its number.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from runcast.core.foreign import attempt
from runcast.integrations.system import EVERY_S, SystemTracker
from runcast.integrations.system.gpus import Gpus
from runcast.integrations.system.machine import Machine
from runcast.journal.file import Journal
from runcast.journal.records import Metrics, encode_line
from runcast.values.scalars import encodable

END_S = 5.0


class NodeMeter(threading.Thread):
    """The samples of one node, written to the file of its first rank."""

    def __init__(self, journal: Journal, node: int, every_s: Any, step: Callable[[], int]) -> None:
        super().__init__(name="runcast-system", daemon=True)
        self._journal, self._node, self._every_s, self._step = journal, node, every_s, step
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Sample until the end; what the system cannot say is missing, and training never learns of it."""
        attempt(self._sample, lambda _: None)

    def _sample(self) -> None:
        every_s = float(self._every_s or os.environ.get(SystemTracker.variables["every_s"]) or EVERY_S)
        machine, gpus = Machine(os.getpid(), self._journal.path.parent, without=0), Gpus()
        while not self._ended.wait(every_s):
            processes, sample = machine.sample()
            sample |= gpus.sample(processes)
            values = {f"system/node{self._node}/{key}": encodable(value) for key, value in sample.items()}
            self._journal.append(encode_line(Metrics(time=time.time(), step=self._step(), values=values, by="system")))

    def end(self) -> None:
        """End, before the file is closed."""
        self._ended.set()
        self.join(END_S)
