"""Read a task and its events back, from a server or from the files of an offline session."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clearml.backend_api import Session

from runcast.integrations.clearml.events import FILE, NO_STEP, PLOT, SCALAR, STATUSES
from runcast.integrations.clearml.sdk import ask
from runcast.integrations.contract import Reading
from runcast.integrations.files import json_lines, name_of
from runcast.values.points import Point, PointList

ODD = re.compile(r"=(nan|inf|-inf)\Z")
PAGE_EVENTS = 5000


def read_session(folder: Path, *, trust: bool = True) -> Reading:
    """Read the files of an offline session."""
    events = (event for line in json_lines(folder / "metrics.jsonl") for event in line)
    return to_reading(load(folder / "task.json") or {}, events, trust=trust)


def read_task(session: Session, task_id: str, *, is_joined: bool) -> Reading:
    """Ask the server for a task and all of its events."""
    task = ask(session, "tasks.get_by_id", task=task_id)["task"]
    events = (event for kind in (SCALAR, FILE, PLOT) for event in all_events(session, task_id, kind))
    return to_reading(task, events, trust=is_joined)


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
        key = joined(event.get("metric") or "", series[: odd.start()] if odd else series)
        if event["type"] != SCALAR:
            media.append((key, step))
        elif step != NO_STEP:
            points.append(Point(key, float(odd[1]) if odd else event["value"], step, event["timestamp"] / 1000))
    return Reading(
        points=points,
        params={name: item.get("value") for name, item in sections.get("General", {}).items()},
        summary={name: _from_text(item.get("value", "")) for name, item in sections.get("Summary", {}).items()},
        tags=set(task.get("tags") or ()),
        artifacts={name_of(artifact["key"]) for artifact in (task.get("execution") or {}).get("artifacts") or ()},
        media=media,
        status=noted if agrees else words.get(actual, "running"),
        name=task.get("name"),
        notes=task.get("comment") or None,
        group=own.get("group"),
    )


def joined(title: str, series: str) -> str:
    """Undo `events.split`."""
    if title == series:
        return title
    return f"{title}{series}" if series.lstrip("/") == title else f"{title}/{series}"


def _from_text(text: str) -> Any:
    """Undo `events.to_text`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def all_events(session: Session, task: str, kind: str) -> Iterator[dict[str, Any]]:
    """Read all events of a kind, page by page."""
    scroll: dict[str, str] = {}
    while True:
        page = ask(session, "events.get_task_events", task=task, event_type=kind, batch_size=PAGE_EVENTS, **scroll)
        if not page.get("events"):
            return
        yield from page["events"]
        scroll = {"scroll_id": page["scroll_id"]}


def load(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; None if it is lost or damaged."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None
