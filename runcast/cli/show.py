"""`runcast show`: one run in the terminal."""

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runcast.cli.options import Json, Root, RunWord, find, page_file

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.overview import RunOverview
    from runcast.history.views.contents import Contents
    from runcast.journal.layout import RunDirectory

PLOT_LINES = 8
LONGEST_VALUE = 200
ALERTS_SHOWN = 5
SHORTEST_NAME = 12
SPARK_MIN, SPARK_WIDE = 8, 60


def show(
    run: RunWord = None,
    root: Root = Path("runs"),
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="KEY",
            help="Plot this metric; can be repeated, and may contain wildcards: 'train/*'.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Also params that have their default, and curves of hardware and speed.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", callback=page_file, help="Write one page with everything.", show_default=False
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show a run in progress again every 2 s, until it has ended.")
    ] = False,
    json: Json = False,
) -> None:
    """Show one run in the terminal.

    Shows its curves, params, summary and artifacts, and its address in each tracker.
    """
    from runcast.cli.output import console, follow as draw_again, print_json
    from runcast.history.overview import overview
    from runcast.history.views.contents import contents
    from runcast.values.scalars import encodable

    directory = find(run, root)
    if html is not None:
        from runcast.history.views.page import write_page

        write_page(html, [directory])
        typer.echo(f"Written: {html}", err=json)
        if not json:
            return
    if follow and not json:
        draw_again(lambda out: _print_all(out, directory, metric, every=every))
        return
    if not json:
        _print_all(console(), directory, metric, every=every)
        return
    held = contents(directory)
    chosen = _chosen(held, metric)
    held.curves = {key: [(step, encodable(value)) for step, value in curve] for key, curve in chosen.items()}  # type: ignore[misc]
    print_json({"run": overview(directory), "contents": held})


def _chosen(held: "Contents", metric: list[str] | None) -> dict[str, Any]:
    """Return the curves that the user means: all, or those of names with wildcards, or of beginnings of names."""
    from runcast.history.views.digest import metric_named

    if metric is None:
        return dict(held.curves)
    chosen: set[str] = set()
    for word in metric:  # a name may have brackets of its own, so it comes before the wildcards
        matching = [] if word in held.curves else [key for key in held.curves if fnmatch(key, word)]
        chosen.update(matching or [metric_named(word, held.curves)])
    return {key: curve for key, curve in held.curves.items() if key in chosen}


def _print_all(out: "Console", directory: "RunDirectory", metric: list[str] | None, *, every: bool) -> bool:
    """Print a run; return whether it is still training."""
    from runcast.cli.output import print_damaged, print_dropped
    from runcast.history.overview import overview
    from runcast.history.views.contents import contents
    from runcast.history.views.defaults import telling

    about, held = overview(directory), contents(directory)
    chosen = _chosen(held, metric)
    _print_head(out, about, held, directory)
    if metric:
        _print_plots(out, chosen)
    else:
        _print_curves(out, held, every=every)
        _print_values(out, "summary", {key: one for key, one in held.summary.items() if key not in held.metered})
        _print_totals(out, held)
        shown = held.params if every else telling(held.params)
        _print_values(out, "params", shown, hidden=len(held.params) - len(shown))
        _print_files(out, held)
        print_dropped(out, directory.journal)
        print_damaged(out, held.damaged)
        _print_trackers(out, about)
    return about.status == "running"


def _print_head(out: "Console", about: "RunOverview", held: "Contents", directory: "RunDirectory") -> None:
    from runcast.cli.output import ago, duration, headline, notes, word
    from runcast.history.views.listing import duration_of
    from runcast.journal.status import error_line
    from runcast.redaction.console import counted

    took = f"{'for' if about.status == 'running' else 'took'} {duration(duration_of(directory, directory.load()))}"
    out.print(headline(about.name, "  ", word(about.status)))
    out.print(
        f"{about.project} · {about.id} · started {ago(about.created)} · {took} · {counted(about.points, 'point')}",
        style="dim",
    )
    if held.tags:
        out.print(f"tags: {', '.join(held.tags)}", style="dim")
    if held.alerts:
        newest = held.alerts[-ALERTS_SHOWN:]
        notes(out, [("alert", f"{caption} (at step {step})") for step, caption in newest])
    if held.error:
        notes(out, [("error", error_line(held.error))])


def _print_plots(out: "Console", curves: dict[str, Any]) -> None:
    from runcast.cli.curves import plot

    for key, curve in sorted(curves.items()):
        out.print()
        out.print(key, style="bold")
        for line in plot(curve, min(out.width, 100), PLOT_LINES) or ["no finite value"]:
            out.print(line, style="cyan")


def _print_curves(out: "Console", held: "Contents", *, every: bool) -> None:
    from runcast.history.views.contents import is_metered

    meters = [key for key in sorted(held.curves) if is_metered(key, held)]
    own = [key for key in sorted(held.curves) if key not in meters]
    shown = own + meters if every or not own else own
    if not shown:
        return
    out.print()
    out.print(_table_of_curves(out, held, shown))
    if len(shown) < len(held.curves):
        out.print(f"and {len(meters)} of energy, hardware or speed: runcast show --all", style="dim")


def _table_of_curves(out: "Console", held: "Contents", keys: list[str]) -> Any:
    from rich.cells import cell_len
    from rich.text import Text

    from runcast.cli.curves import sparkline
    from runcast.cli.output import WIDE, count, number, table

    rows = []
    for key in keys:
        values = [value for _, value in held.curves[key]]
        finite = [value for value in values if value - value == 0] or values
        bounds = [number(min(finite)), number(max(finite))] if len(values) > 1 else ["", ""]
        rows.append([number(values[-1]), *bounds, count(len(values))])
    headers = ("last", "min", "max", "points")
    taken = sum(max(len(header), *(len(row[at]) for row in rows)) + 2 for at, header in enumerate(headers))
    is_wide = out.width >= WIDE
    names = keys if is_wide else cut_names(keys, out.width - taken - SPARK_MIN - 4)
    spark = SPARK_WIDE if is_wide else max(SPARK_MIN, out.width - taken - max(map(cell_len, names)) - 4)
    listed = table("metric", "", *headers, right=headers)
    for name, key, row in zip(names, keys, rows, strict=True):
        curve = held.curves[key]
        listed.add_row(name, Text(sparkline(curve, spark) if len(curve) > 1 else "", style="cyan"), *row)
    return listed


def _print_values(out: "Console", title: str, values: dict[str, Any], hidden: int = 0) -> None:
    from rich.table import Table

    from runcast.cli.output import WIDE

    if values:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        grid.add_column(title, no_wrap=True, overflow="ellipsis")
        grid.add_column("", overflow="fold")
        keys = sorted(values)
        names = keys if out.width >= WIDE else cut_names(keys, out.width // 2)
        for name, key in zip(names, keys, strict=True):
            value = values[key]
            text = f"{value:.6g}" if isinstance(value, float) else str(value)
            grid.add_row(name, text if out.width >= WIDE else cut(text, LONGEST_VALUE))
        out.print()
        out.print(grid)
    if hidden:
        out.print(f"and {hidden} {title} that have their default: runcast show --all", style="dim")


def _print_totals(out: "Console", held: "Contents") -> None:
    """Print the totals of each meter as one paragraph, named without the meter."""
    from runcast.cli.output import notes, number

    totals: dict[str, list[str]] = {}
    for key in sorted(held.summary.keys() & set(held.metered)):
        meter, _, name = key.partition("/")
        value = held.summary[key]
        totals.setdefault(meter, []).append(f"{name} {value if isinstance(value, str) else number(value)}")
    notes(out, [(meter, " · ".join(texts)) for meter, texts in totals.items()])


def _print_files(out: "Console", held: "Contents") -> None:
    from runcast.cli.output import size, table

    if held.artifacts:
        listed = table("artifact", "kind", "size", right=("size",))
        for artifact in held.artifacts:
            listed.add_row(artifact.name, artifact.kind, size(artifact.size_bytes))
        out.print()
        out.print(listed)
    if held.media:
        out.print()
        out.print("media", style="dim")
        out.print(", ".join(f"{key} ({number})" for key, number in sorted(held.media.items())))


def _print_trackers(out: "Console", about: "RunOverview") -> None:
    from runcast.cli.output import commands, notes

    notes(out, [(tracker.name, tracker.coverage) for tracker in about.trackers if tracker.coverage])
    commands(
        out, "Where it went", [(tracker.name, tracker.open_command or tracker.where) for tracker in about.trackers]
    )


def cut_names(names: list[str], longest: int) -> list[str]:
    """Shorten long names in the middle, as far as they stay different from each other."""
    from rich.cells import cell_len

    most = max(map(cell_len, names), default=0)
    for length in range(max(longest, SHORTEST_NAME), most):
        shortened = [cut(name, length) for name in names]
        if len(set(shortened)) == len(set(names)):
            return shortened
    return names


def cut(text: str, longest: int) -> str:
    """Shorten a text in the middle that takes more columns; many characters, such as Chinese ones, take two."""
    from rich.cells import cell_len

    if cell_len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{_fitting(text, longest - 1 - tail)}…{_fitting(text[::-1], tail)[::-1]}"


def _fitting(text: str, columns: int) -> str:
    """Return as much of the beginning of a text as fits."""
    from rich.cells import cell_len

    text = text[:columns]
    while cell_len(text) > columns:
        text = text[:-1]
    return text
