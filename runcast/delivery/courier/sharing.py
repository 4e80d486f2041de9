"""What SDKs import: what several need is imported once and shared by forks, and what none needs is left out."""

import contextlib
import importlib
import os
import sys
from collections import Counter
from collections.abc import Mapping

from runcast.delivery.trust import Orders
from runcast.integrations.table import TABLE

THREADS = "OPENBLAS_NUM_THREADS"  # a fork has none of its parent's threads, so NumPy must start none


def import_shared(orders: Mapping[str, Orders]) -> None:
    """Import what at least two of these trackers' SDKs import.

    A module that is missing or broken is theirs to report.
    """
    counts = Counter(module for name in orders if name in TABLE for module in TABLE[name].imports)
    shared = [module for module, count in counts.items() if count > 1]
    if not shared:
        return
    path, threads = list(sys.path), os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    sys.path[:] = next(iter(orders.values())).path or path
    for module in shared:
        with contextlib.suppress(BaseException):
            importlib.import_module(module)
    sys.path[:] = path
    os.environ.pop(THREADS)
    if threads is not None:
        os.environ[THREADS] = threads


def is_meter(name: str) -> bool:
    """Return whether a tracker is a meter, which lacks what passes while others wait for these imports."""
    return name in TABLE and TABLE[name].measures


def leave_out_unused(name: str, orders: Orders) -> None:
    """Make modules of which a delivery has no use look as if they were not installed."""
    row = TABLE.get(name)
    if row is not None and row.tracker == orders.tracker:
        for module in row.unused:
            sys.modules.setdefault(module, None)  # type: ignore[arg-type]
