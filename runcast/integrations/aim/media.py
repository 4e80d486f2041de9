"""The object of Aim for a media file."""

import json
from typing import Any

from aim.sdk.objects import Audio, Distribution, Image, Text

from runcast.core.errors import FinalError
from runcast.integrations.contract import MediaFile

AUDIO = (".wav", ".mp3", ".flac")
MAX_BINS = 512


def content(media: MediaFile) -> Any:
    """Return what Aim keeps of a media file."""
    if media.kind == "image":
        try:
            return Image(str(media.path), caption=media.caption or "")
        except OSError as error:
            raise FinalError(f"Aim cannot keep {media.path} as an image: {error}") from error
    if media.kind == "audio" and media.path.suffix in AUDIO:
        return Audio(str(media.path), format=media.path.suffix[1:], caption=media.caption or "")
    if media.kind == "histogram":
        counts, edges = media.histogram()
        if len(counts) <= MAX_BINS and _is_even(edges):
            return Distribution(hist=counts, bin_range=(edges[0], edges[-1]))
    if media.kind == "table":
        return Text("\n".join(json.dumps(row, ensure_ascii=False) for row in media.records()))
    return Text(str(media.path) if media.kind in ("audio", "video") else media.text())


def _is_even(edges: list[int | float]) -> bool:
    """Return whether all bins have one width, which is all that Aim can hold."""
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    return all(abs(edges[0] + at * width - edge) <= abs(width) / 1000 for at, edge in enumerate(edges))
