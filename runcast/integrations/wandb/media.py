"""Make W&B's own objects of images, sounds, texts, tables and histograms."""

import html
from typing import Any

import wandb

from runcast.core.errors import FinalError
from runcast.integrations.contract import MediaFile
from runcast.values.scalars import Number

MAX_TABLE_ROWS = 10_000
MAX_BINS = 512


def as_wandb(media: MediaFile) -> Any:
    """Return what `wandb.Run.log` takes for a media file."""
    path = str(media.path)
    if media.kind == "image":
        return wandb.Image(path, caption=media.caption)
    if media.kind == "audio":
        return wandb.Audio(path, caption=media.caption)
    if media.kind == "video":
        return wandb.Video(path, caption=media.caption, format=media.path.suffix[1:])
    if media.kind == "text":
        return wandb.Html(f"<pre>{html.escape(media.text())}</pre>", inject=False)
    if media.kind == "histogram":
        return wandb.Histogram(np_histogram=merged(*media.histogram()))
    columns, rows = media.table()
    if len(rows) > MAX_TABLE_ROWS:
        raise FinalError(f"A table of {len(rows):,} rows: W&B cuts it at {MAX_TABLE_ROWS:,}. Log it as an artifact.")
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def merged(counts: list[Number], edges: list[Number]) -> tuple[list[Number], list[Number]]:
    """Merge neighbouring bins until there are as few as W&B takes: no count is lost, each stays between its edges."""
    width = -(-len(counts) // MAX_BINS)
    sums = [sum(counts[at : at + width]) for at in range(0, len(counts), width)]
    return sums, [*edges[:-1:width], edges[-1]]
