"""Samples of NVIDIA's GPUs, as NVML reads them."""

import contextlib
from collections.abc import Callable, Iterator, Set
from typing import Any

MIB = 2**20


class Gpus:
    """The GPUs that NVML lists, with their MIG partitions; none without the library, its driver or a GPU."""

    def __init__(self) -> None:
        self._devices: dict[str, Any] = {}
        try:
            import pynvml
        except ImportError:
            return
        self._nvml: Any = pynvml
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._devices = dict(self._list())

    def _list(self) -> Iterator[tuple[str, Any]]:
        """Yield the names and handles of GPUs and partitions."""
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetCount()):
            device = nvml.nvmlDeviceGetHandleByIndex(index)
            yield f"gpu{index}", device
            with contextlib.suppress(nvml.NVMLError):  # a GPU that cannot be partitioned says so with an error
                if nvml.nvmlDeviceGetMigMode(device)[0] == nvml.NVML_DEVICE_MIG_ENABLE:
                    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
                        with contextlib.suppress(nvml.NVMLError):  # not all of them need exist
                            yield (
                                f"gpu{index}/mig{number}",
                                nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, number),
                            )

    def sample(self, processes: Set[int]) -> dict[str, float]:
        """Return what each of them can say; *processes* are those of the training."""
        found: dict[str, float] = {}
        for name, device in self._devices.items():
            for value, read in self._readings(device, processes).items():
                with contextlib.suppress(self._nvml.NVMLError):  # not supported by this GPU, or lost
                    found[f"{name}/{value}"] = read()
        return found

    def _readings(self, device: Any, processes: Set[int]) -> dict[str, Callable[[], float]]:
        nvml = self._nvml

        def used_by_training() -> float:
            running = nvml.nvmlDeviceGetComputeRunningProcesses(device)
            return float(sum(one.usedGpuMemory or 0 for one in running if one.pid in processes) / MIB)

        return {
            "utilisation_percent": lambda: float(nvml.nvmlDeviceGetUtilizationRates(device).gpu),
            "memory_percent": lambda: _share(nvml.nvmlDeviceGetMemoryInfo(device)),
            "memory_used_mib": lambda: float(nvml.nvmlDeviceGetMemoryInfo(device).used / MIB),
            "process_memory_mib": used_by_training,
            "power_w": lambda: float(nvml.nvmlDeviceGetPowerUsage(device) / 1000),
            "temperature_c": lambda: float(nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU)),
        }


def _share(memory: Any) -> float:
    return float(100.0 * memory.used / memory.total)
