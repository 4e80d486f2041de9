"""The HTML of a Deck: no script and nothing from elsewhere, so that Flyte's console shows it as it is."""

import html
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from runcast.integrations.files import data_uri
from runcast.journal.state import load_state
from runcast.values.scalars import Number

MAX_POINTS = 1000  # of a curve; half of them go when there are more
MAX_MEDIA, MAX_MEDIA_BYTES = 24, 2**20  # the newest of each name
WIDTH, HEIGHT = 320, 120
LINKS = re.compile("<!--links of (.*?)-->.*?<!--end of links-->", re.DOTALL)
STYLE = (
    ".runcast{font:14px/1.4 system-ui,sans-serif}.runcast td{padding:1px 12px 1px 0;vertical-align:top}"
    ".runcast .curves{display:flex;flex-wrap:wrap;gap:16px}.runcast figure{margin:0}.runcast img{max-width:320px}"
    ".runcast pre{max-width:60em;max-height:20em;overflow:auto;white-space:pre-wrap}"
    ".runcast polyline{fill:none;stroke:#6f2aef;stroke-width:1.5}.runcast svg{background:#f7f5fd;display:block}"
)


class Curve:
    """A metric: an even sample of its finite points, and the last one."""

    def __init__(self) -> None:
        self.points: list[tuple[int, Number]] = []
        self.last: tuple[int, Number] = (0, 0)
        self._every, self._seen = 1, 0

    def add(self, step: int, value: Number) -> None:
        """Add a point."""
        self.last = step, value
        if math.isfinite(value):
            if self._seen % self._every == 0:
                self.points.append((step, value))
            self._seen += 1
        if len(self.points) > MAX_POINTS:
            self.points, self._every = self.points[::2], self._every * 2


class Shown:
    """What a Deck shows of a run; a pure sum of its lines."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.tags: dict[str, None] = {}
        self.curves: dict[str, Curve] = {}
        self.media: dict[str, list[Any]] = {}
        self.artifacts: dict[str, str] = {}
        self.files = 0

    def add(self, kind: str, content: Any) -> None:
        """Add what a line says."""
        if kind == "points":
            for key, value, step, _ in content:
                self.curves.setdefault(key, Curve()).add(step, value)
        elif kind in ("params", "summary"):
            getattr(self, kind).update(content)
        elif kind == "tags":
            self.tags.update(dict.fromkeys(content))
        elif kind == "media":
            self.files += 1
            self.media.pop(content[0], None)
            self.media[content[0]] = content
        elif kind == "artifact":
            self.artifacts[content[0]] = content[2]
        else:
            self.about.update(content)


def with_links(content: str) -> str:
    """Write a page again with where the other trackers have the run now: their deliveries may have begun later."""
    return LINKS.sub(lambda found: _links(Path(unquote(found[1]))), content)


def _links(run: Path) -> str:
    found = []
    for path in sorted((run / "trackers").glob("*")):
        state = load_state(path) if path.name != "flyte" else None
        if state is not None and state.url:
            found.append((html.escape(path.name), _link(state.url)))
    return f"<!--links of {quote(str(run))}-->{_section('Other trackers', _table(found))}<!--end of links-->"


def render(shown: Shown, folder: Path, run: Path) -> str:
    """Write the page; *folder* has the media, *run* is the run's."""
    about, tags = shown.about, "".join(f" · {html.escape(tag)}" for tag in shown.tags)
    error = f"<pre>{html.escape(str(about['error']))}</pre>" if about.get("error") else ""
    notes = f"<p>{html.escape(about['notes'])}</p>" if about.get("notes") else ""
    head = (
        f"<style>{STYLE}</style><h2>{html.escape(str(about.get('name')))}</h2>"
        f"<p>{html.escape(str(about.get('project')))} · <b>{about.get('status')}</b>{tags}</p>{notes}{error}"
    )
    parts = (
        head,
        _links(run),
        _section("Curves", _grid(_drawn(key, curve) for key, curve in shown.curves.items() if len(curve.points) > 1)),
        _section("Final values", _table(_texts({**_last(shown.curves), **shown.summary}))),
        _section("Params", _table(_texts(shown.params))),
        _section("Media", _grid(_medium(folder, *media) for media in list(shown.media.values())[-MAX_MEDIA:])),
        _section("Artifacts", _table((html.escape(n), _link(place)) for n, place in shown.artifacts.items())),
    )
    return f'<div class="runcast">{"".join(parts)}</div>'


def _section(title: str, content: str) -> str:
    return f"<h3>{title}</h3>{content}" if content else ""


def _grid(figures: Iterable[str]) -> str:
    content = "".join(figures)
    return f'<div class="curves">{content}</div>' if content else ""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    content = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{content}</table>" if content else ""


def _texts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(html.escape(key), html.escape(str(value))) for key, value in values.items()]


def _last(curves: Mapping[str, Curve]) -> dict[str, str]:
    return {key: f"{curve.last[1]:.6g} at step {curve.last[0]:,}" for key, curve in curves.items()}


def _link(place: str) -> str:
    text = html.escape(place)
    return f'<a href="{text}">{text}</a>' if place.startswith(("https://", "http://")) else text


def _drawn(key: str, curve: Curve) -> str:
    points = [*curve.points, curve.last] if math.isfinite(curve.last[1]) else curve.points
    steps, values = [step for step, _ in points], [float(value) for _, value in points]
    left, low = min(steps), min(values)
    wide, high = (max(steps) - left) or 1, (max(values) / 2 - low / 2) or 1  # halves: two large values may be too far
    at = " ".join(
        f"{4 + (step - left) / wide * (WIDTH - 8):.1f},{HEIGHT - 4 - (value / 2 - low / 2) / high * (HEIGHT - 8):.1f}"
        for step, value in zip(steps, values, strict=True)
    )
    return (
        f"<figure><figcaption>{html.escape(key)}: {curve.last[1]:.6g}</figcaption>"
        f'<svg width="{WIDTH}" height="{HEIGHT}"><polyline points="{at}"/></svg></figure>'
    )


def _medium(folder: Path, key: str, step: int, kind: str, kept: str, caption: str | None) -> str:
    path, title = folder / kept, html.escape(f"{key} at step {step:,}" + (f": {caption}" if caption else ""))
    if not path.exists():  # somebody has tidied up
        shown = ""
    elif path.stat().st_size > MAX_MEDIA_BYTES:
        shown = f"<code>{html.escape(str(path))}</code>"
    elif kind in ("text", "table", "histogram"):
        shown = f"<pre>{html.escape(path.read_text(encoding='utf-8', errors='replace'))}</pre>"
    elif kind in ("image", "audio", "video"):
        data = data_uri(path)
        shown = f'<img src="{data}">' if kind == "image" else f'<{kind} controls src="{data}"></{kind}>'
    else:
        shown = f"<code>{html.escape(str(path))}</code>"
    return f"<figure><figcaption>{title}</figcaption>{shown}</figure>"
