"""Sample the processors, memory, disks, network and GPUs of the training's machine, for every other tracker.

Needs: psutil 5.9 or newer, tested with 7.2.2; for GPUs of NVIDIA nvidia-ml-py (`pip install 'runcast[gpu]'`).
Writes: nothing of its own. Every 10 s (`setup={"system": {"every_s": 60}}`, or RUNCAST_SYSTEM_METRICS_EVERY_S) a point
    of each metric at the training's step, and at the end of a session the mean of each as a summary value.
    `system/cpu_percent` and others are of the machine; `system/process_cpu_percent` (100 is one processor) and
    `system/process_memory_mib` are of the training process and its children, without those of runcast;
    `system/gpu0/...` are of what NVML lists, with a partition of it (MIG) as `system/gpu0/mig1/...`. MLflow shows them
    on its page of system metrics, which goes by their names, the others as curves; the sampling of the SDKs is off, so
    that nothing is there twice.
Drops: all that is logged, and the status: it holds nothing but its samples, and those only in the journal.
Limits: RUNCAST_SYSTEM_METRICS=0 turns it off. Under `per_rank`, the second node of a job is `system/node1/...`, by a
    thread in its first process; otherwise only the first rank's machine is sampled. In a container, the machine's
    processors and memory are those of the host. The mean is of what was sampled since the meter's own start, which a
    kill repeats. There is nothing for GPUs of AMD and Apple. NVML was tried with a stand-in only, as there was no GPU.
    Seen in psutil 7.2.2 and nvidia-ml-py 13.615.71 on 2026-11-30.
"""

import os
import time
from collections.abc import Mapping
from typing import ClassVar

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.integrations.system.gpus import Gpus
from runcast.integrations.system.machine import Machine
from runcast.journal.layout import RunDirectory
from runcast.values.scalars import Number

EVERY_S = 10.0
UNKEPT = "it keeps nothing of its own: its samples are in the journal and in the other trackers"


class SystemTracker(Tracker):
    """A meter of the machine and of the training's processes, which needs no SDK and so starts with the training."""

    name = "system"
    supports = frozenset()
    measures = True
    covers = False
    variables: ClassVar[Mapping[str, str]] = {"every_s": "RUNCAST_SYSTEM_METRICS_EVERY_S"}

    _machine: Machine | None = None

    def setup(self, run: TrackedRun) -> None:
        run.url = str(RunDirectory(run.directory).journal)
        try:
            self._every_s = float(run.setting("every_s") or EVERY_S)
        except ValueError:
            raise FinalError(f"every_s={run.setting('every_s')!r} is not a number of seconds.") from None
        if run.trains:
            own = os.getppid() if run.pid != os.getpid() else 0  # the courier
            self._machine, self._gpus = Machine(run.pid, run.directory, without=own), Gpus()
            self._sums: dict[str, float] = {}
            self._counts: dict[str, int] = {}
            self._due = time.monotonic() + self._every_s

    def measure(self, final: bool) -> Mapping[str, Number]:
        if self._machine is None or not (final or time.monotonic() >= self._due):
            return {}
        self._due += self._every_s * (1 + max(0.0, time.monotonic() - self._due) // self._every_s)
        processes, sample = self._machine.sample()
        sample |= self._gpus.sample(processes)
        for key, value in sample.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
            self._counts[key] = self._counts.get(key, 0) + 1
        if final:
            self._machine = None
            sample = {key: total / self._counts[key] for key, total in self._sums.items()}
        return {f"system/{key}": value for key, value in sample.items()}

    def read(self, run: TrackedRun) -> Reading:
        return Reading(unreadable=UNKEPT)
