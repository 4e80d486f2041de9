"""The rows of a run's history, many with one wait: the SDK hands each to a thread, and waits until wandb-core has it.

Seen in wandb 0.22.0 and 0.31.0, 2026-11-30.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from runcast.integrations.wandb.reader import STEP, TIME


@contextlib.contextmanager
def without_waiting(run: Any) -> Iterator[None]:
    """Hand over what is logged here without waiting; the next row after it waits for all, as they keep their order."""
    interface: Any = getattr(getattr(run, "_backend", None), "interface", None)
    publish = getattr(interface, "_publish", None)
    if publish is None or "nowait" not in inspect.signature(publish).parameters:
        yield
        return
    interface._publish = functools.partial(publish, nowait=True)
    try:
        yield
    finally:
        del interface._publish  # the class has it


def with_step(row: Mapping[str, Any], step: int, moment: float) -> dict[str, Any]:
    """Return a row with the step, and with its time if it has one."""
    return {**row, STEP: step, **({TIME: moment} if moment else {})}
