"""`runcast show`: one run in the terminal."""

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runcast.cli.options import Json, Root, RunWord, find

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.contents import Contents
    from runcast.history.overview import RunOverview

PLOT_LINES = 8
LONGEST_VALUE = 200


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
    json: Json = False,
) -> None:
    """Show one run in the terminal.

    Shows its curves, params, summary and artifacts, and its address in each tracker.
    """
    from runcast.cli.output import console, print_dropped, print_json
    from runcast.history.contents import contents
    from runcast.history.overview import overview
    from runcast.values.scalars import encodable

    directory = find(run, root)
    about, held = overview(directory), contents(directory)
    chosen = {
        key: curve
        for key, curve in held.curves.items()
        if metric is None or any(fnmatch(key, pattern) for pattern in metric)
    }
    if metric and not chosen:
        raise typer.BadParameter(
            f"the run has no such metric. It has: {', '.join(sorted(held.curves)) or 'none'}", param_hint="--metric"
        )
    if json:
        held.curves = {key: [(step, encodable(value)) for step, value in curve] for key, curve in chosen.items()}  # type: ignore[misc]
        print_json({"run": about, "contents": held})
        return
    out = console()
    _print_head(out, about, held)
    if metric:
        _print_plots(out, chosen)
        return
    _print_curves(out, held)
    _print_values(out, "summary", held.summary)
    _print_values(out, "params", held.params)
    _print_files(out, held)
    print_dropped(out, directory.journal)
    _print_trackers(out, about)


def _print_head(out: "Console", about: "RunOverview", held: "Contents") -> None:
    from rich.text import Text

    from runcast.cli.output import ago, notes, word
    from runcast.redaction.console import counted

    out.print(Text.assemble((about.name, "bold"), "  ", word(about.status)))
    out.print(
        f"{about.project} · {about.id} · started {ago(about.created)} · {counted(about.points, 'point')}", style="dim"
    )
    if held.tags:
        out.print(f"tags: {', '.join(held.tags)}", style="dim")
    if held.error:
        notes(out, [("error", held.error.strip().splitlines()[-1])])


def _print_plots(out: "Console", curves: dict[str, Any]) -> None:
    from runcast.cli.curves import plot

    for key, curve in sorted(curves.items()):
        out.print()
        out.print(key, style="bold")
        for line in plot(curve, min(out.width, 100), PLOT_LINES) or ["no finite value"]:
            out.print(line, style="cyan")


def _print_curves(out: "Console", held: "Contents") -> None:
    from rich.text import Text

    from runcast.cli.curves import sparkline
    from runcast.cli.output import count, number, table

    if not held.curves:
        return
    listed = table(
        "metric", "", "last", "min", "max", "points", right=("last", "min", "max", "points"), shrinks="metric"
    )
    room = max(16, out.width - 58)
    for key, curve in sorted(held.curves.items()):
        values = [value for _, value in curve]
        finite = [value for value in values if value - value == 0] or values
        drawn = Text(sparkline(curve, 16) if len(values) > 1 else "", style="cyan")
        bounds = [number(min(finite)), number(max(finite))] if len(values) > 1 else ["", ""]
        listed.add_row(_cut(key, room), drawn, number(values[-1]), *bounds, count(len(values)))
    out.print()
    out.print(listed)


def _print_values(out: "Console", title: str, values: dict[str, Any]) -> None:
    from rich.table import Table

    if not values:
        return
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    grid.add_column(title, no_wrap=True, overflow="ellipsis", max_width=36)
    grid.add_column("", overflow="fold")
    for key, value in sorted(values.items()):
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        grid.add_row(key, _cut(text, LONGEST_VALUE))
    out.print()
    out.print(grid)


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


def _cut(text: str, longest: int) -> str:
    """Shorten a long text in the middle."""
    tail = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[: longest - 1 - tail]}…{text[-tail:]}"
