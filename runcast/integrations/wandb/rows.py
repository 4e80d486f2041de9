"""The rows of W&B's history, and the metrics that are the x-axes of others."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import groupby
from typing import Any

from runcast.integrations.wandb.reader import STEP
from runcast.values.points import Point


class Axes:
    """The x-axis of each metric: the optimizer step, or another metric, as the user has said.

    W&B itself knows patterns, but not which of several counts, so each metric is defined by its name.
    """

    def __init__(self, run: Any, axes: Mapping[str, str]) -> None:
        self._run, self._axes = run, axes
        self._defined: set[str] = set()
        run.define_metric("*", step_metric=STEP)

    def rows(self, points: Sequence[Point]) -> Iterator[tuple[dict[str, Any], int, float]]:
        """Yield rows of values, each with its step and time; a row has a metric once."""
        for (step, moment), group in groupby(points, key=lambda point: (point.step, point.time)):
            row: dict[str, Any] = {}
            for point in group:
                if self._axes:
                    self._define(point.key)
                if point.key in row:
                    yield row, step, moment
                    row = {}
                row[point.key] = point.value
            yield row, step, moment

    def _define(self, key: str) -> None:
        if key in self._defined:
            return
        self._defined.add(key)
        axis = next((axis for pattern, axis in self._axes.items() if fnmatchcase(key, pattern)), None)
        if axis not in (None, key):
            self._run.define_metric(key, step_metric=axis)
