"""The packages and the hardware that a script runs with."""

import json
import os
import platform
import re
import sys
from glob import glob

from runcast.autodetect.installed import Distribution, scan
from runcast.redaction.tree import redact_text
from runcast.run.snapshot.checkout import without_credentials
from runcast.values.scalars import ParamValue, without_surrogates

GIB = 2**30
SMALL = 2**14  # characters of a file that is read; /proc/cpuinfo takes longer with each processor


def list_packages() -> str:
    """List the distributions on `sys.path` as lines of a requirements file, without secrets."""
    lines = sorted(map(_line, scan().distributions.values()))
    return "\n".join([f"# Python {platform.python_version()} on {sys.platform}", *lines, ""])


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


def _line(distribution: Distribution) -> str:
    """Return the line of a distribution: with its version, or with the address that it was installed from."""
    name, version, folder = distribution
    origin = _read(os.path.join(folder, "direct_url.json"))
    try:
        told = json.loads(origin) if origin else {}
        url = redact_text(without_credentials(told["url"])) if told else ""
        control = told.get("vcs_info") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        url, control = "", {}
    if not url:
        return without_surrogates(f"{name}=={version}")
    if control:
        url = f"{control.get('vcs', 'git')}+{url}@{control.get('commit_id', '')}"
    return without_surrogates(f"{name} @ {url}")


def _processor() -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Name each GPU as its driver does, without NVML, which may not be installed."""
    texts = map(_read, sorted(glob("/proc/driver/nvidia/gpus/*/information")))
    return [named[1].strip() for text in texts if (named := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(SMALL)
    except OSError:
        return ""
