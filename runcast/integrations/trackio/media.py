"""What Trackio keeps of a media file: its kind, with the file or with the content itself (read in 0.43.0)."""

import math
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from runcast.integrations.contract import MediaFile
from runcast.integrations.payloads import Alert


def content(media: MediaFile, keep: Callable[[Path], str]) -> dict[str, Any]:
    """Return the value of a row for a media file; *keep* puts a file into Trackio's own folder and returns its path."""
    if media.kind == "text":
        return {"_type": "trackio.markdown", "_value": media.text()}
    if media.kind == "table":
        return {"_type": "trackio.table", "_value": [_cells(row) for row in media.records()]}
    if media.kind == "histogram":
        counts, edges = media.histogram()
        return {"_type": "trackio.histogram", "bins": edges, "values": counts}
    return {"_type": f"trackio.{media.kind}", "file_path": keep(media.path), "caption": media.caption}


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if _is_odd(value) else value for name, value in row.items()}


def _is_odd(value: Any) -> bool:
    return (isinstance(value, float) and not math.isfinite(value)) or (type(value) is int and abs(value) >= 2**63)


def alert_entry(alert: Alert, media: MediaFile) -> dict[str, Any]:
    """Describe an alert to Trackio; its id is that of the text, so that one that comes again is known."""
    moment = datetime.fromtimestamp(media.time, timezone.utc).isoformat()
    return {**alert._asdict(), "step": media.step, "timestamp": moment, "alert_id": f"{media.path.stem} {media.time}"}
