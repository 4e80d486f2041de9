"""The rows of a run's history, many with one wait: the SDK hands each to a thread, and waits until wandb-core has it.

Seen in wandb 0.22.0 and 0.31.0, 2026-11-30.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from runcast.integrations.wandb.reader import STEP, TIME
from runcast.values.points import Point


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


def rows_of(points: Sequence[Point]) -> Iterator[dict[str, Any]]:
    """Yield W&B's rows: the points of one step and time; a key that comes twice begins another one."""
    for (step, moment), group in groupby(points, key=lambda point: (point.step, point.time)):
        row: dict[str, Any] = {}
        for point in group:
            if point.key in row:
                yield with_step(row, step, moment)
                row = {}
            row[point.key] = point.value
        yield with_step(row, step, moment)


def with_step(row: Mapping[str, Any], step: int, moment: float) -> dict[str, Any]:
    """Return a row with the step, and with its time if it has one."""
    return {**row, STEP: step, **({TIME: moment} if moment else {})}
