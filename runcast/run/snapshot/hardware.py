"""The hardware that a script runs on; `init` reads it, so nothing else is imported for it."""

import contextlib
import os
import platform
import re

from runcast.values.scalars import ParamValue

GIB = 2**30
SMALL = 2**14  # characters of a file that is read; /proc/cpuinfo takes longer with each processor
GPUS = "/proc/driver/nvidia/gpus"


def describe_hardware() -> dict[str, ParamValue]:
    """Describe the processors, the memory and NVIDIA's GPUs, as far as the system says."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found: dict[str, ParamValue] = {
        "cpu": _processor(),
        "cpus": os.cpu_count() or 0,
        "memory_gib": round(memory / GIB, 1),
    }
    if gpus := _gpus():
        found |= {"gpu": ", ".join(sorted(set(gpus))), "gpus": len(gpus)}
    return found


def read_file(path: str) -> str:
    """Read the beginning of a text file; one that cannot be read is empty."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(SMALL)
    except OSError:
        return ""


def _processor() -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", read_file("/proc/cpuinfo"), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Name each GPU as its driver does, without NVML, which may not be installed."""
    cards: list[str] = []
    with contextlib.suppress(OSError):
        cards = sorted(os.listdir(GPUS))
    texts = (read_file(f"{GPUS}/{card}/information") for card in cards)
    return [named[1].strip() for text in texts if (named := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]
