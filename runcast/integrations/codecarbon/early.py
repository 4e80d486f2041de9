"""The state of the machine before CodeCarbon is imported, from which its meter starts. Seen in 3.3.2.

The import and the search for hardware take seconds, which the energy of a short training would lack.
"""

import contextlib
import glob
import threading
import time
from typing import Any

import psutil

RAPL = "/sys/class/powercap/*/energy_uj"


class Early:
    """The readings of one moment: seconds of the processors, and counters of energy (RAPL in µJ, NVML in mJ)."""

    def __init__(self) -> None:
        self.time, self.moment, self.loads = time.time(), time.perf_counter(), psutil.cpu_times()
        self.packages: dict[str, float] = {}
        self.gpus: dict[int, float] = {}
        for path in glob.glob(RAPL):
            with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:
                self.packages[path] = float(file.read())
        with contextlib.suppress(ImportError):
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):
                pynvml.nvmlInit()
                for index in range(pynvml.nvmlDeviceGetCount()):
                    device = pynvml.nvmlDeviceGetHandleByIndex(index)
                    self.gpus[index] = float(pynvml.nvmlDeviceGetTotalEnergyConsumption(device))

    def knows(self, hardware: Any) -> bool:
        """Return whether one of CodeCarbon's parts of the machine can start from here."""
        kind, mode = type(hardware).__name__, getattr(hardware, "_mode", "")
        if kind == "RAM":
            return True
        if kind == "GPU":
            return all(device.gpu_index in self.gpus for device in hardware.devices.devices)
        if kind == "CPU" and mode == "intel_rapl":
            return all(file.path in self.packages for file in hardware._intel_interface._rapl_files)
        has_baseline = hasattr(hardware, "_cpu_load_meter") and hardware._tracking_mode == "machine"
        return kind == "CPU" and (mode == "constant" or (mode == "cpu_load" and has_baseline))

    def rewind(self, hardware: Any) -> None:
        """Set a part that has just taken its first reading back to this moment."""
        kind = type(hardware).__name__
        if kind == "GPU":
            for device in hardware.devices.devices:
                device.last_energy = type(device.last_energy).from_millijoules(self.gpus[device.gpu_index])
        elif kind == "CPU" and hardware._mode == "intel_rapl":
            for file in hardware._intel_interface._rapl_files:
                file.last_energy = type(file.last_energy).from_ujoules(self.packages[file.path])
        elif kind == "CPU" and hardware._mode == "cpu_load":
            hardware._cpu_load_meter._last_times, hardware._last_sample_time = self.loads, self.moment


def start(meter: Any, early: Early | None) -> None:
    """Start CodeCarbon's tracker, from the early moment if each of its parts can.

    Its own thread and ours would count the same seconds twice if they asked at once: they ask in turn.
    """
    measure, turn = meter._measure_power_and_energy, threading.Lock()

    def measure_in_turn() -> None:
        with turn:
            measure()

    meter._measure_power_and_energy = meter._scheduler.function = measure_in_turn
    parts = list(meter._hardware)
    if early is not None and all(map(early.knows, parts)):
        for hardware in parts:
            _start_from(meter, hardware, early)
    meter.start()


def _start_from(meter: Any, hardware: Any, early: Early) -> None:
    own = hardware.start

    def from_early() -> None:
        own()
        early.rewind(hardware)
        meter._start_time = meter._last_measured_time = early.moment

    hardware.start = from_early
