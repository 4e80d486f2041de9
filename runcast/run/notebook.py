"""A run in a notebook: what a cell shows of it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, Protocol

from runcast.journal.layout import RunDirectory
from runcast.journal.paths import argument, shown
from runcast.journal.tail import last_values

MAX_ROWS = 20  # of the metrics


class Shown(Protocol):
    """What is shown of a run."""

    name: str
    dir: Path
    step: int

    @property
    def urls(self) -> Mapping[str, str]:
        """Its address in each tracker."""

    def statistics(self) -> Any:
        """Return its counts."""


def as_html(run: Shown, status: str) -> str:
    """Return what a notebook shows of a run: its last values, its trackers, and how to look at it elsewhere."""
    last = last_values(RunDirectory(run.dir).journal)
    metrics = {key: _number(last[key]) for key in sorted(last)[:MAX_ROWS]}
    more = f"<p>… and {len(last) - MAX_ROWS:,} more metrics</p>" if len(last) > MAX_ROWS else ""
    dropped = sum(run.statistics().dropped.values())
    lost = f"<p>{dropped:,} dropped: <code>runcast show {escape(argument(run.dir))}</code></p>" if dropped else ""
    return (
        f"<div><p><b>{escape(run.name)}</b> {escape(status)} · step {run.step:,} · "
        f"<code>{escape(shown(run.dir))}</code></p>{_table(metrics)}{more}{_places(run.urls)}{lost}</div>"
    )


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"  # of a count, every digit


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>" for key, value in rows.items()]
    return f"<table>{''.join(lines)}</table>" if lines else ""


def _places(urls: Mapping[str, str]) -> str:
    parts = []
    for name, url in urls.items():
        is_link = url.startswith(("http://", "https://"))
        link = f'<a href="{escape(url)}" target="_blank" rel="noreferrer">{escape(name)}</a>'
        parts.append(link if is_link else escape(name))
    return f"<p>{', '.join(parts)}</p>" if parts else ""
