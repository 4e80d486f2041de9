"""W&B's objects for media, and a page for files that it cannot show.

Limits: the constants below, read in wandb 0.31.0 (data_types/) on 2026-11-20.
"""

import html
import time
from typing import Any

import wandb

from runcast.core.errors import FinalError, is_about_content
from runcast.integrations.contract import MediaFile
from runcast.integrations.files import MAX_PAGE_BYTES, page
from runcast.values.scalars import Number

MAX_TABLE_ROWS = 10_000
MAX_BINS = 512
LATE_S = 600.0
MAX_TITLE_CHARS = 63  # of an alert, as wandb.Run.alert says


def as_wandb(media: MediaFile) -> Any:
    """Return what `wandb.Run.log` takes.

    Raises:
        FinalError, OSError or ValueError: W&B does not take it.
    """
    try:
        return _as_its_kind(media)
    except (OSError, ValueError) as error:
        is_odd = isinstance(error, ValueError) or is_about_content(error)
        if media.kind not in ("image", "audio", "video") or not is_odd or media.path.stat().st_size > MAX_PAGE_BYTES:
            raise
        return wandb.Html(page(media.path, media.kind), inject=False)


def _as_its_kind(media: MediaFile) -> Any:
    path = str(media.path)
    if media.kind == "image":
        return wandb.Image(path, caption=media.caption)
    if media.kind == "audio":
        return wandb.Audio(path, caption=media.caption)
    if media.kind == "video":
        return wandb.Video(path, caption=media.caption, format=media.path.suffix[1:])
    if media.kind == "text":
        return wandb.Html(f"<pre>{html.escape(media.text())}</pre>", inject=False)
    if media.kind == "html":
        return wandb.Html(path, inject=False)
    if media.kind == "histogram":
        return wandb.Histogram(np_histogram=merged(*media.histogram()))
    columns, rows = media.table()
    if len(rows) > MAX_TABLE_ROWS:
        raise FinalError(f"A table of {len(rows):,} rows: W&B cuts it at {MAX_TABLE_ROWS:,}. Log it as an artifact.")
    return wandb.Table(columns=columns, data=rows, allow_mixed_types=True)


def send_alert(run: Any, media: MediaFile) -> None:
    """Send a text that is an alert as one of W&B's, which writes to the user's e-mail or Slack.

    One that comes late, from a run that waited for a network, begins with its time.
    """
    if alert := media.alert():
        moment = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(media.time))
        text = alert.text if time.time() - media.time < LATE_S else "\n\n".join(filter(None, (moment, alert.text)))
        run.alert(alert.title[:MAX_TITLE_CHARS], text, alert.level.upper())


def merged(counts: list[Number], edges: list[Number]) -> tuple[list[Number], list[Number]]:
    """Merge neighbouring bins until there are as few as W&B takes: no count is lost, each stays between its edges."""
    width = -(-len(counts) // MAX_BINS)
    sums = [sum(counts[at : at + width]) for at in range(0, len(counts), width)]
    return sums, [*edges[:-1:width], edges[-1]]
