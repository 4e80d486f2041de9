"""Curves drawn with characters: a sparkline for tables, and a plot of Braille dots for a closer look.

Values that are not finite are left out.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
# The bit of each dot in a Braille character, by row and column; U+2800 is the empty one.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

Curve = Sequence[tuple[int, float]]


def sparkline(curve: Curve, width: int) -> str:
    """Draw a curve as one line of at most *width* blocks."""
    values = _columns(curve, min(width, len({step for step, value in curve if math.isfinite(value)})))
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def plot(curve: Curve, width: int, height: int) -> list[str]:
    """Draw a curve as lines of Braille dots, with values on the left and steps below."""
    steps = [step for step, value in curve if math.isfinite(value)]
    if not steps:
        return []
    margin = 10
    columns, rows = 2 * (width - margin - 2), 4 * height
    values = _columns(curve, columns)
    low, high = min(values), max(values)
    heights = [round((high - value) / (high - low) * (rows - 1)) if high > low else rows // 2 for value in values]
    bits = [[0] * (columns // 2) for _ in range(height)]
    before = heights[0]
    for column, row in enumerate(heights):
        for dot in _between(before, row):
            bits[dot // 4][column // 2] |= DOTS[dot % 4][column % 2]
        before = row
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    lines = [
        f"{labels.get(index, ''):>{margin}} │" + "".join(chr(0x2800 + cell) for cell in line)
        for index, line in enumerate(bits)
    ]
    first, last = f"{min(steps):,}", f"{max(steps):,}"
    return [*lines, " " * (margin + 2) + first + last.rjust(columns // 2 - len(first))]


def _between(before: int, row: int) -> Iterable[int]:
    """Yield the dots that connect the last column's height to this one's, without the first."""
    if row == before:
        return (row,)
    return range(before + 1, row + 1) if row > before else range(row, before)


def _columns(curve: Curve, width: int) -> list[float]:
    """Sort points into columns by step: their mean in each, and a straight line across empty columns."""
    points = [(step, value) for step, value in curve if math.isfinite(value)]
    if not points:
        return []
    first = min(step for step, _ in points)
    span = max(step for step, _ in points) - first
    sums: dict[int, list[float]] = {}
    for step, value in points:
        sums.setdefault(round((step - first) * (width - 1) / span) if span else 0, []).append(value)
    means = [(column, sum(values) / len(values)) for column, values in sorted(sums.items())]
    drawn = [means[0][1]]
    for (left, low), (right, high) in pairwise(means):
        drawn += [low + (high - low) * (column - left) / (right - left) for column in range(left + 1, right + 1)]
    return drawn
