"""Curves drawn with characters: a sparkline for tables, and a plot of Braille dots for a closer look.

Values that are not finite are left out.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
FLAT = "─"  # of a constant: its height would mean nothing
MARGIN = 10
LARGE, SHRINK = 2.0**900, 2.0**64
# The bit of each dot in a Braille character, by row and column; U+2800 is the empty one.
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))

Curve = Sequence[tuple[int, float]]


def sparkline(curve: Curve, width: int) -> str:
    """Draw a curve as one line of at most *width* blocks; a constant is a flat line in the middle."""
    (finite,), _ = _finite([curve])
    if not finite:
        return ""
    steps = {step for step, _ in finite}
    values = list(_columns(finite, min(width, len(steps)), min(steps), max(steps)).values())
    low, high = min(values), max(values)
    if high == low:
        return FLAT * len(values)
    scale = (len(BLOCKS) - 1) / (high - low)
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def plot(curve: Curve, width: int, height: int) -> list[str]:
    """Draw a curve as lines of Braille dots, with values on the left and steps below."""
    return ["".join(text for text, _ in line) for line in overlay([curve], width, height)]


def overlay(curves: Sequence[Curve], width: int, height: int) -> list[list[tuple[str, int | None]]]:
    """Draw curves over each other, on common axes.

    Returns:
        Lines of pieces: a text, and the number of the curve that it belongs to, or None for the axes.
    """
    finite, shrunk = _finite(curves)
    every = [point for curve in finite for point in curve]
    if not every:
        return []
    columns, rows = 2 * max(1, width - MARGIN - 2), 4 * height
    first, last = min(step for step, _ in every), max(step for step, _ in every)
    drawn = [_columns(curve, columns, first, last) if curve else {} for curve in finite]
    low, high = min(min(one.values()) for one in drawn if one), max(max(one.values()) for one in drawn if one)
    bits = [[0] * (columns // 2) for _ in range(height)]
    owner = [[0] * (columns // 2) for _ in range(height)]
    for number, one in enumerate(drawn):
        before: int | None = None
        for column, value in sorted(one.items()):
            row = round((high - value) / (high - low) * (rows - 1)) if high > low else rows // 2
            for dot in _between(row if before is None else before, row):
                bits[dot // 4][column // 2] |= DOTS[dot % 4][column % 2]
                owner[dot // 4][column // 2] = number
            before = row
    labels = {0: f"{high * shrunk:.4g}", height - 1: f"{low * shrunk:.4g}"}
    lines: list[list[tuple[str, int | None]]] = []
    for index, line in enumerate(bits):
        pieces = [(chr(0x2800 + cell), owner[index][at]) for at, cell in enumerate(line)]
        lines.append([(f"{labels.get(index, ''):>{MARGIN}} │", None), *pieces])
    left, right = f"{first:,}", f"{last:,}"
    return [*lines, [(" " * (MARGIN + 2) + left + right.rjust(columns // 2 - len(left)), None)]]


def _finite(curves: Sequence[Curve]) -> tuple[list[list[tuple[int, float]]], float]:
    """Return the finite points of curves, and by how much they were divided: of the largest floats, sums overflow."""
    finite = [[(step, value) for step, value in curve if math.isfinite(value)] for curve in curves]
    if max((abs(value) for curve in finite for _, value in curve), default=0) < LARGE:
        return finite, 1.0
    return [[(step, value / SHRINK) for step, value in curve] for curve in finite], SHRINK


def _between(before: int, row: int) -> Iterable[int]:
    """Yield the dots that connect the last column's height to this one's, without the first."""
    if row == before:
        return (row,)
    return range(before + 1, row + 1) if row > before else range(row, before)


def _columns(curve: Curve, width: int, first: int, last: int) -> dict[int, float]:
    """Sort finite points into columns by step: their mean in each, and a straight line across empty columns."""
    span = last - first
    sums: dict[int, list[float]] = {}
    for step, value in curve:
        sums.setdefault(round((step - first) * (width - 1) / span) if span else 0, []).append(value)
    means = [(column, sum(values) / len(values)) for column, values in sorted(sums.items())]
    drawn = {means[0][0]: means[0][1]}
    for (left, low), (right, high) in pairwise(means):
        for column in range(left + 1, right + 1):
            drawn[column] = low + (high - low) * (column - left) / (right - left)
    return drawn
