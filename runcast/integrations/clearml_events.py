"""What ClearML stores, in its own JSON: events with a title and a series, plots for Plotly, a task with its sections.

The same dictionaries go to a server (events.add_batch) and into the file metrics.jsonl of an offline session. Read in
clearml 2.1.12 (backend_interface/metrics, Metrics.report_offline_session) and clearml-server, 2026-11-20.
"""

import contextlib
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from runcast.integrations.contract import MediaFile, Number, Point, Reading, Status
from runcast.integrations.files import name_of
from runcast.values.media.cells import Cell
from runcast.values.points import PointList

SCALAR, FILE, PLOT = "training_stats_scalar", "training_debug_image", "plot"
NO_STEP = -(2**31)  # where ClearML keeps single values
STATUSES: Mapping[Status, str] = {"finished": "completed", "failed": "failed", "killed": "stopped", "crashed": "failed"}
ODD = re.compile(r"=(nan|inf|-inf)\Z")


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


def join(title: str, series: str) -> str:
    """Undo `split`."""
    if title == series:
        return title
    return f"{title}{series}" if series.lstrip("/") == title else f"{title}/{series}"


def to_text(value: Number | str | bool) -> str:
    """Write a value as JSON, but a text as it is, unless it would read as something else."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            json.loads(value)
            return json.dumps(value)
        return value
    return json.dumps(value)


def from_text(text: str) -> Any:
    """Undo `to_text`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def to_table(media: MediaFile) -> dict[str, Any]:
    """Make a Plotly table."""
    header, rows = media.table()
    cells = [[_json_cell(cell) for cell in column] for column in zip(*rows, strict=True)]
    return {"data": [{"type": "table", "header": {"values": header}, "cells": {"values": cells}}], "layout": {}}


def _json_cell(cell: Cell) -> Cell:
    """JSON has no NaN and no infinity: those are texts."""
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def to_histogram(media: MediaFile) -> dict[str, Any]:
    """Make Plotly bars of a histogram's counts and edges."""
    counts, edges = media.histogram()
    bars = list(pairwise(edges))
    centers, widths = [(a + b) / 2 for a, b in bars], [b - a for a, b in bars]
    return {"data": [{"type": "bar", "x": centers, "y": counts, "width": widths}], "layout": {}}


def append(path: Path, events: list[dict[str, Any]]) -> None:
    """Add events to a session's file, all of them or none."""
    line = json.dumps(events).encode() + b"\n"
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:
            file.truncate(end)
            raise


def stored_events(path: Path) -> Iterator[dict[str, Any]]:
    """Read a session's file, without a line that was cut in mid-write."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield from json.loads(line)


def mend(path: Path) -> None:
    """Cut off the end of a session's file that a killed process left unfinished."""
    if path.exists():
        with path.open("rb") as file:
            whole = sum(len(line) for line in file if line.endswith(b"\n"))
        os.truncate(path, whole)


def to_reading(task: Mapping[str, Any], events: Iterable[Mapping[str, Any]], *, trust: bool) -> Reading:
    """Read a task and its events; without *trust* the task's own status counts more than what was noted at the end."""
    sections = task.get("hyperparams") or {}
    own = {name: item.get("value") for name, item in sections.get("properties", {}).items()}
    noted: Any = own.get("runcast_status", "running")
    actual = task.get("status", "")
    words = {word: status for status, word in list(STATUSES.items())[::-1]}
    agrees = trust or STATUSES.get(noted, "in_progress") == actual
    points, media = PointList(), list[tuple[str, int]]()
    for event in events:
        series, step = event.get("variant") or "", event.get("iter", 0)
        odd = ODD.search(series)
        key = join(event.get("metric") or "", series[: odd.start()] if odd else series)
        if event["type"] != SCALAR:
            media.append((key, step))
        elif step != NO_STEP:
            points.append(Point(key, float(odd[1]) if odd else event["value"], step, event["timestamp"] / 1000))
    return Reading(
        points=points,
        params={name: item.get("value") for name, item in sections.get("General", {}).items()},
        summary={name: from_text(item.get("value", "")) for name, item in sections.get("Summary", {}).items()},
        tags=set(task.get("tags") or ()),
        artifacts={name_of(artifact["key"]) for artifact in (task.get("execution") or {}).get("artifacts") or ()},
        media=media,
        status=noted if agrees else words.get(actual, "running"),
        name=task.get("name"),
        notes=task.get("comment") or None,
        group=own.get("group"),
    )
