"""Samples of a machine and of a training's processes, as psutil reads them."""

import time
from pathlib import Path

import psutil

MIB = 2**20


class Machine:
    """The machine and the processes of a training; rates are means since the previous sample.

    Args:
        pid: The training process.
        directory: A folder on the disk whose space is sampled.
        without: A child of that process to leave out, with its own children; 0 for none.
    """

    def __init__(self, pid: int, directory: Path, *, without: int) -> None:
        self._pid, self._directory, self._without = pid, directory, without
        self._now, self._busy, self._rates = 0.0, (0.0, 0.0), dict[str, int]()
        self._processes: dict[tuple[int, float], float] = {}
        self.sample()

    def sample(self) -> tuple[set[int], dict[str, float]]:
        """Return the ids of the training's processes, and the values."""
        now, busy, rates = time.monotonic(), _processor_times(), _transferred()
        processes = self._look()
        memory = psutil.virtual_memory()
        values = {"memory_percent": memory.percent, "memory_used_mib": (memory.total - memory.available) / MIB}
        values["disk_percent"] = psutil.disk_usage(str(self._directory)).percent
        times = {key: seconds for key, (seconds, _) in processes.items()}
        if processes:
            values["process_memory_mib"] = sum(size for _, size in processes.values()) / MIB
        if self._now:  # it is not the first sample
            passed_s = max(now - self._now, 1e-3)
            idle, total = (after - before for after, before in zip(busy, self._busy, strict=True))
            values["cpu_percent"] = min(100.0, max(0.0, 100.0 * (1.0 - idle / max(total, 1e-3))))
            for name, size in rates.items():
                values[f"{name}_mib_per_s"] = max(0, size - self._rates.get(name, size)) / MIB / passed_s
            if processes:  # of a process that has come since, all of its time
                used_s = sum(seconds - self._processes.get(key, 0.0) for key, seconds in times.items())
                values["process_cpu_percent"] = 100.0 * max(0.0, used_s) / passed_s
        self._now, self._busy, self._rates, self._processes = now, busy, rates, times
        return {pid for pid, _ in processes}, values

    def _look(self) -> dict[tuple[int, float], tuple[float, int]]:
        """Return the seconds of processor time and the bytes of memory of each process; nothing if it has ended."""
        try:
            training = psutil.Process(self._pid)
            every = {each.pid: each for each in (training, *training.children(recursive=True))}
            if self._without in every:
                for own in (every[self._without], *every[self._without].children(recursive=True)):
                    every.pop(own.pid, None)
        except psutil.Error:
            return {}
        found = {}
        for process in every.values():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    found[process.pid, process.create_time()] = times.user + times.system, process.memory_info().rss
            except psutil.Error:  # it has just ended, or is not ours to see
                continue
        return found


def _processor_times() -> tuple[float, float]:
    """Return the seconds in which processors were idle, and all of their seconds."""
    times = psutil.cpu_times()
    doubled = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # are in `user` and `nice`, too
    return times.idle + getattr(times, "iowait", 0.0), sum(times) - doubled


def _transferred() -> dict[str, int]:
    """Return the bytes that disks and network cards have transferred, as far as the system says."""
    found: dict[str, int] = {}
    if (disks := psutil.disk_io_counters()) is not None:
        found |= {"disk_read": disks.read_bytes, "disk_written": disks.write_bytes}
    cards = [card for name, card in psutil.net_io_counters(pernic=True).items() if not name.startswith("lo")]
    if cards:
        found["network_received"] = sum(card.bytes_recv for card in cards)
        found["network_sent"] = sum(card.bytes_sent for card in cards)
    return found
