"""One self-contained page about runs: interactive curves, params, summary, media and links.

Plotly draws the curves; its library is in the page, which so works without a network.
"""

import datetime as dt
import html
import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from runcast.core.errors import RuncastError
from runcast.history.overview import RunOverview, overview
from runcast.history.views.contents import Contents, contents, is_metered, own_first
from runcast.history.views.side_by_side import distinct_names
from runcast.integrations.files import data_uri
from runcast.integrations.payloads import MediaFile
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import inside
from runcast.journal.reader import JournalReader
from runcast.journal.records import Media

Run: TypeAlias = tuple[RunOverview, Contents, RunDirectory]

MAX_POINTS = 2_000  # of a curve in a page
MAX_MEDIA = 60  # files in a page, the newest
MAX_ROWS = 50  # of a table
MAX_FILE_BYTES = 4 * 2**20
COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#65a30d")
STYLE = """
:root { color-scheme: light dark; --text: #1f2937; --dim: #6b7280; --line: #e5e7eb; --page: #ffffff; --card: #f9fafb; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e5e7eb; --dim: #9ca3af; --line: #374151; --page: #111827; --card: #1f2937; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; color: var(--text); background: var(--page);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; } h2 { margin: 2rem 0 .75rem; font-size: 1.1rem; }
.dim { color: var(--dim); } .finished { color: #059669; } .killed { color: #d97706; }
.failed, .crashed { color: #dc2626; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.card { padding: .75rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card); min-width: 0; }
.card h3 { margin: 0 0 .25rem; font-size: .9rem; overflow-wrap: anywhere; } .curve { height: 15rem; overflow: hidden; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; } th { font-weight: 600; }
img, video, audio { max-width: 100%; } img { image-rendering: auto; min-width: 4rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 14rem; overflow: auto; }
iframe { width: 100%; height: 20rem; border: 0; background: white; } details { margin-top: 1rem; }
summary { cursor: pointer; } code { overflow-wrap: anywhere; }
"""


# A curve follows the width of its card. A figure's own page would load Plotly from the network: it gets ours.
SCRIPT = r"""
for (const at of document.querySelectorAll(".curve")) {
  const [lines, layout] = JSON.parse(at.nextElementSibling.textContent);
  Plotly.newPlot(at, lines, layout, {displaylogo: false, displayModeBar: false});
  new ResizeObserver(() => at.offsetWidth && Plotly.Plots.resize(at)).observe(at);
}
const library = "<script>" + document.getElementById("plotly").textContent + "<\/script>";
for (const frame of document.querySelectorAll("iframe[data-page]"))
  frame.srcdoc = frame.dataset.page.replace(/<script[^>]*src="https:\/\/cdn\.plot\.ly[^>]*><\/script>/, () => library);
"""


def write_page(path: Path, directories: list[RunDirectory]) -> None:
    """Write a page about one run, or about several with their curves over each other.

    Raises:
        RuncastError: Plotly is not installed.
        OSError: The file cannot be written.
    """
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]
    except ImportError:
        raise RuncastError(
            "The page needs Plotly, which is not installed. Install it with: pip install 'runcast[html]'"
        ) from None
    runs = [(overview(directory), contents(directory), directory) for directory in directories]
    title = html.escape(" · ".join(about.name for about, _, _ in runs))
    body = "".join([*map(_head, runs), _curves(runs), *(_details(run, is_alone=len(runs) == 1) for run in runs)])
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style><script id='plotly'>{get_plotlyjs()}</script></head>"
        f"<body>{body}<script>{SCRIPT}</script></body></html>\n",
        encoding="utf-8",
    )


def _head(run: Run) -> str:
    about, held, _ = run
    began = dt.datetime.fromtimestamp(about.created).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    facts = f"{about.project} · {about.id} · {began} on {about.host} · {about.points:,} points"
    tags = f" · {', '.join(held.tags)}" if held.tags else ""
    error = f'<pre class="failed">{html.escape(held.error)}</pre>' if held.error else ""
    name, status = html.escape(about.name), html.escape(about.status)
    return (
        f'<h1>{name} <small class="{status}">{status}</small></h1><p class="dim">{html.escape(facts + tags)}</p>{error}'
    )


def _curves(runs: list[Run]) -> str:
    keys = dict.fromkeys(key for _, held, _ in runs for key in sorted(held.curves))
    several = {key for key in keys if any(len(held.curves.get(key, ())) > 1 for _, held, _ in runs)}
    own = [key for key in keys if key in several and not is_metered(key, runs[0][1])]
    others = [key for key in keys if key in several and key not in own]
    meters = (
        f"<details><summary>Energy, hardware, speed ({len(others)})</summary>{_grid(runs, others)}</details>"
        if others
        else ""
    )
    return f"<h2>Curves</h2>{_grid(runs, own)}{meters}" if several else ""


def _grid(runs: list[Run], keys: list[str]) -> str:
    return f'<div class="grid">{"".join(_curve(runs, key) for key in keys)}</div>'


def _curve(runs: list[Run], key: str) -> str:
    lines = []
    axis = axis_of(key, runs[0][2].load().axes)
    names = distinct_names([about.name for about, _, _ in runs], [about.id for about, _, _ in runs])
    for number, (_, held, _) in enumerate(runs):
        curve = thinned(sorted(on_axis(held.curves.get(key, []), held.curves.get(axis or "", []))), MAX_POINTS)
        lines.append(
            {
                "x": [step for step, _ in curve],
                "y": [value if value - value == 0 else None for _, value in curve],
                "name": _plain(names[number]),
                "line": {"color": COLORS[number % len(COLORS)], "width": 1.5},
                "mode": "lines" if len(curve) > 1 else "markers",
            }
        )
    layout = {
        "autosize": True,
        "margin": {"l": 48, "r": 8, "t": 8, "b": 40},
        "showlegend": len(runs) > 1,
        "legend": {"orientation": "h", "y": -0.2},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "#808894"},
        "xaxis": {"title": {"text": _plain(axis or "step")}, "gridcolor": "rgba(128,136,148,.25)", "zeroline": False},
        "yaxis": {"gridcolor": "rgba(128,136,148,.25)", "zeroline": False},
        "hovermode": "x unified",
    }
    data = json.dumps([lines, layout]).replace("<", "\\u003c")  # in a script, "<!--" would hide its end
    return (
        f'<div class="card"><h3>{html.escape(key)}</h3><div class="curve"></div>'
        f'<script type="application/json">{data}</script></div>'
    )


def _plain(text: str) -> str:
    """Return a text as Plotly shows it unchanged: it reads tags."""
    return html.escape(text, quote=False)


def axis_of(key: str, axes: Mapping[str, str]) -> str | None:
    """Return the metric that is the x-axis of another, or None for the step."""
    return next((axis for pattern, axis in axes.items() if fnmatchcase(key, pattern) and key != axis), None)


def on_axis(curve: list[Any], axis: list[Any]) -> list[Any]:
    """Return a curve over the finite values of another metric at the same steps; over the steps if it has none."""
    at = dict(axis)
    return [(at[step], value) for step, value in curve if step in at and at[step] - at[step] == 0] or curve


def thinned(curve: list[Any], most: int) -> list[Any]:
    """Return at most about *most* points of a curve, with the least and the greatest of each part."""
    if len(curve) <= most:
        return curve
    width = -(-2 * len(curve) // most)
    kept = []
    for start in range(0, len(curve), width):
        part = [point for point in curve[start : start + width] if point[1] - point[1] == 0]
        if part:
            ends = (min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1]))
            kept += sorted(dict.fromkeys(ends))
    return kept


def _details(run: Run, *, is_alone: bool) -> str:
    about, held, directory = run
    parts = [
        _table("Summary", ((key, held.summary[key]) for key in own_first(held.summary))),
        _table("Params", held.params.items()),
        _table("Dropped values", ((key, f"{one.count:,}: it {one.reason}") for key, one in held.dropped.items())),
        _media(directory),
        _table("Artifacts", ((one.name, f"{one.kind}, {one.size_bytes:,} bytes") for one in held.artifacts)),
        _trackers(about),
    ]
    text = "".join(parts)
    return text if is_alone else f"<details><summary>{html.escape(about.name)}</summary>{text}</details>"


def _table(title: str, rows: Iterable[tuple[str, Any]]) -> str:
    lines = [f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>" for key, value in rows]
    return f'<h2>{title}</h2><div class="scroll"><table>{"".join(lines)}</table></div>' if lines else ""


def _trackers(about: RunOverview) -> str:
    rows = []
    for tracker in about.trackers:
        where = html.escape(tracker.open_command or tracker.where or "–")
        is_link = tracker.where is not None and tracker.where.startswith(("http://", "https://"))
        shown = f'<a href="{where}" rel="noreferrer">{where}</a>' if is_link else f"<code>{where}</code>"
        phase = html.escape(tracker.phase or "–")
        rows.append(f"<tr><th>{html.escape(tracker.name)}</th><td>{phase}</td><td>{shown}</td></tr>")
    return f'<h2>Trackers</h2><div class="scroll"><table>{"".join(rows)}</table></div>' if rows else ""


def _media(directory: RunDirectory) -> str:
    records = [record for record in JournalReader(directory.journal) if isinstance(record, Media)]
    cards = "".join(_medium(directory, record) for record in records[-MAX_MEDIA:])
    left = len(records) - MAX_MEDIA
    more = f'<p class="dim">The newest {MAX_MEDIA} of {len(records):,} files.</p>' if left > 0 else ""
    return f'<h2>Media</h2>{more}<div class="grid">{cards}</div>' if records else ""


def _medium(directory: RunDirectory, record: Media) -> str:
    title = html.escape(record.key)
    caption = f'<p class="dim">{html.escape(record.caption)}</p>' if record.caption else ""
    try:
        shown = _shown(directory, record)
    except (OSError, ValueError, RuncastError, msgspec.MsgspecError) as error:  # also one that was deleted
        shown = f'<p class="dim">{html.escape(str(error))}</p>'
    return f'<div class="card"><h3>{title} <span class="dim">step {record.step:,}</span></h3>{shown}{caption}</div>'


def _shown(directory: RunDirectory, record: Media) -> str:
    path = inside(directory.path, record.path)
    if path.stat().st_size > MAX_FILE_BYTES:
        return f'<p class="dim">{html.escape(record.path)} ({path.stat().st_size / 1e6:,.0f} MB)</p>'
    file = MediaFile(record.key, record.step, record.kind, path, record.caption, record.time)
    if record.kind == "text":
        return f"<pre>{html.escape(file.text())}</pre>"
    if record.kind == "table":
        columns, rows = file.table()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
        texts = [["" if cell is None else html.escape(str(cell)) for cell in row] for row in rows[:MAX_ROWS]]
        lines = ["".join(f"<td>{text}</td>" for text in row) for row in texts]
        return f'<div class="scroll"><table><tr>{head}</tr><tr>{"</tr><tr>".join(lines)}</tr></table></div>'
    if record.kind == "histogram":
        counts, _ = file.histogram()
        top = max(counts, default=0) or 1
        bars = "".join(
            f'<rect x="{at}" y="{100 - 100 * one / top:.1f}" width=".9" height="{100 * one / top:.1f}"/>'
            for at, one in enumerate(counts)
        )
        size = f'viewBox="0 0 {len(counts) or 1} 100" preserveAspectRatio="none" width="100%" height="120"'
        return f'<svg {size} fill="{COLORS[0]}">{bars}</svg>'
    if record.kind == "html":  # a user's own scripts: without access to this page
        return f'<iframe sandbox="allow-scripts" data-page="{html.escape(path.read_text(encoding="utf-8"))}"></iframe>'
    data = data_uri(path)
    if record.kind == "image" or data.startswith("data:image/gif;"):
        return f'<img src="{data}" alt="{html.escape(record.key)}">'
    tag = "audio" if record.kind == "audio" else "video"
    return f'<{tag} controls src="{data}"></{tag}>'
