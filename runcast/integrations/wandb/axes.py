"""The metrics that are the x-axes of others in W&B."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
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

    def define(self, points: Sequence[Point]) -> None:
        """Define the axis of each metric that is new."""
        if not self._axes:
            return
        for key in dict.fromkeys(point.key for point in points):
            if key not in self._defined:
                self._defined.add(key)
                axis = next((axis for pattern, axis in self._axes.items() if fnmatchcase(key, pattern)), None)
                if axis not in (None, key):
                    self._run.define_metric(key, step_metric=axis)
