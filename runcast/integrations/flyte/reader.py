"""Read a run back from the lines of which its Deck is made: Flyte has no reader of Decks."""

from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.files import json_lines
from runcast.values.points import Point, PointList


def path_of(run: TrackedRun) -> Path:
    """Return the file of lines, of which each has a kind and a content."""
    return run.local / "deck.jsonl"


def read_run(run: TrackedRun) -> Reading:
    """Read all of a run."""
    if not path_of(run).exists():
        raise FinalError(f"There is no Deck of the run in {run.local}. Deliver the run with: runcast sync")
    points, media = PointList(), list[tuple[str, int]]()
    params: dict[str, Any] = {}
    reading = Reading(points=points, params=params, summary={}, tags=set(), artifacts=set(), media=media)
    for kind, content in json_lines(path_of(run)):
        if kind == "points":
            for point in content:
                points.append(Point(*point))
        elif kind == "params":
            params.update(content)
        elif kind == "summary":
            reading.summary = {**(reading.summary or {}), **content}
        elif kind == "tags":
            reading.tags = {*(reading.tags or ()), *content}
        elif kind == "media":
            key, step, _, kept, _ = content
            media.append((key, step))
            reading.contents[key, step] = run.local / kept
        elif kind == "artifact":
            name, _, place = content
            reading.artifacts = {*(reading.artifacts or ()), name}
            if "://" not in place:
                reading.contents[name] = Path(place)
        elif kind == "run":
            reading.name, reading.notes, reading.group = content["name"], content["notes"], content["group"]
            reading.status, reading.started_at, reading.ended_at = "running", content["started"], None
        elif kind == "end":
            reading.status, reading.ended_at = content["status"], content["ended"]
    return reading
