"""Make what ClearML stores, in its own JSON: events with a title and a series, plots for Plotly.

The same dictionaries go to a server (events.add_batch) and into the file metrics.jsonl of an offline session. Read in
clearml 2.1.12 (backend_interface/metrics, Metrics.report_offline_session) and clearml-server, 2026-11-20.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from runcast.integrations.contract import MediaFile, Number, Point, Status
from runcast.values.scalars import finite_or_text

SCALAR, FILE, PLOT = "training_stats_scalar", "training_debug_image", "plot"
NO_STEP = -(2**31)  # where ClearML keeps single values
STATUSES: Mapping[Status, str] = {"finished": "completed", "failed": "failed", "killed": "stopped", "crashed": "failed"}
KEPT_APART_BY = "key"


def new_event(kind: str, task: str, key: str, step: int, moment: float) -> dict[str, Any]:
    """Make an event of a kind, without what it holds."""
    title, series = split(key)
    when = {"iter": step, "timestamp": int(moment * 1000)}
    return {"type": kind, "task": task, "metric": title, "variant": series, **when}


def new_scalar(task: str, point: Point) -> dict[str, Any]:
    """Make the event of a point; NaN and ±inf, which a server's index refuses, are 0.0 in a series of their own."""
    event = new_event(SCALAR, task, point.key, point.step, point.time)
    if math.isfinite(point.value):
        return {**event, "value": point.value}
    return {**event, "value": 0.0, "variant": f"{event['variant']}={point.value}"}


def new_single_value(task: str, key: str, value: Number, moment: float) -> dict[str, Any]:
    """Make the event of a final value."""
    return {**new_event(SCALAR, task, "Summary", NO_STEP, moment), "variant": key, "value": value}


def split(key: str) -> tuple[str, str]:
    """Make a title and a series of a key: "train/loss" is "loss" of "train", and "loss" is "loss" of "loss"."""
    title, slash, series = key.partition("/")
    if not slash:
        return title, title
    return title, f"/{series}" if series.lstrip("/") == title else series


def to_text(value: Number | str | bool) -> str:
    """Write a value as JSON, but a text as it is, unless it would read as something else."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            json.loads(value)
            return json.dumps(value)
        return value
    return json.dumps(value)


def to_table(media: MediaFile) -> dict[str, Any]:
    """Make a Plotly table."""
    header, rows = media.table()
    cells = [list(map(finite_or_text, column)) for column in zip(*rows, strict=True)]
    return {"data": [{"type": "table", "header": {"values": header}, "cells": {"values": cells}}], "layout": {}}


def to_histogram(media: MediaFile) -> dict[str, Any]:
    """Make Plotly bars of a histogram's counts and edges."""
    counts, edges = media.histogram()
    bars = list(pairwise(edges))
    centers, widths = [(a + b) / 2 for a, b in bars], [b - a for a, b in bars]
    return {"data": [{"type": "bar", "x": centers, "y": counts, "width": widths}], "layout": {}}


class Repeats:
    """Values that may be further ones of their step: a server replaces an earlier one, unless a field tells them apart.

    A server knows an event by its task, step, title, series and this field (event_id_fields in
    apiserver/bll/event/event_bll.py of clearml-server, 2026-11-27).
    """

    def __init__(self, *, is_resumed: bool) -> None:
        self._is_resumed, self._count = is_resumed, 0
        self._highest: dict[str, int] = {}  # step of each series

    def set_apart(self, event: dict[str, Any], point: Point) -> dict[str, Any]:
        """Return the event of a point, such that a server keeps it."""
        highest = self._highest.get(point.key)
        self._highest[point.key] = point.step if highest is None else max(highest, point.step)
        if self._is_resumed if highest is None else point.step <= highest:
            self._count += 1
            return {**event, KEPT_APART_BY: f"{point.time!r} {self._count}"}
        return event
