"""SwanLab's own kinds of media: what each is kept as, and the file that it is kept in.

A picture that is no PNG, JPEG or BMP, a sound that is no WAV and a video that is no GIF are in a page
(sdk/internal/run/transforms of 0.10.3, read on 2026-11-30). A chart is a JSON file of ECharts' options.
"""

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from swanlab.proto.swanlab.metric.column.v1.column_pb2 import ColumnType
from swanlab.proto.swanlab.metric.data.v1.data_pb2 import MediaItem
from swanlab.sdk.internal.pkg.adapter import medium

from runcast.core.errors import FinalError
from runcast.integrations.contract import MediaFile
from runcast.integrations.files import MAX_PAGE_BYTES, link, page
from runcast.values.scalars import finite_or_text

SHOWN: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "image": (ColumnType.COLUMN_TYPE_IMAGE, (".png", ".jpg", ".jpeg", ".bmp")),
    "audio": (ColumnType.COLUMN_TYPE_AUDIO, (".wav",)),
    "video": (ColumnType.COLUMN_TYPE_VIDEO, (".gif",)),
    "text": (ColumnType.COLUMN_TYPE_TEXT, (".txt",)),
}


def keep(media: MediaFile, folder: Path) -> tuple[int, MediaItem]:
    """Put a media file into SwanLab's folder for its kind; return the kind and the entry for the run file."""
    kind, suffixes = SHOWN.get(media.kind, (ColumnType.COLUMN_TYPE_ECHARTS, ()))
    suffix = media.path.suffix.lower()
    content = None if suffix in suffixes else _content(media)
    if content is not None:
        suffix = ".json" if media.kind in ("table", "histogram") else ".html"
        kind = kind if suffix == ".json" else ColumnType.COLUMN_TYPE_HTML
    data = media.path.read_bytes() if content is None else content
    digest = hashlib.sha256(data).hexdigest()
    name = f"{media.step:03d}-{digest[:8]}{suffix}"
    target = folder / str(medium[ColumnType.ValueType(kind)]) / name
    if content is None:
        link(media.path, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return kind, MediaItem(filename=name, sha256=digest, size=len(data), caption=media.caption or "")


def _content(media: MediaFile) -> bytes:
    if media.kind == "histogram":
        return json.dumps(_bars(media)).encode()
    if media.kind == "table":
        return json.dumps(_table(media), ensure_ascii=False).encode()
    if media.path.stat().st_size > MAX_PAGE_BYTES:
        raise FinalError(
            f"SwanLab shows no {media.path.suffix} of more than {MAX_PAGE_BYTES:,} bytes. Log it as an artifact."
        )
    return f"<html><body>{page(media.path, media.kind)}</body></html>".encode()


def _bars(media: MediaFile) -> dict[str, Any]:
    counts, edges = media.histogram()
    centres = [f"{(low + high) / 2:.6g}" for low, high in pairwise(edges)]
    return {
        "tooltip": {},
        "xAxis": [{"type": "category", "data": centres}],
        "yAxis": [{"type": "value"}],
        "series": [{"type": "bar", "data": counts, "barCategoryGap": "0%"}],
        "runcast": {"counts": counts, "edges": edges},
    }


def _table(media: MediaFile) -> dict[str, Any]:
    rows = [{name: finite_or_text(value) for name, value in row.items()} for row in media.records()]
    names = rows[0] if rows else media.table()[0]
    return {"_swanLab": "table", "colDefs": [{"field": name} for name in names], "rowData": rows}
