"""`runcast compare`: runs beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runcast.cli.options import Json, Root, complete_run, find

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.views.side_by_side import RunComparison

COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")
PLOT_LINES = 12
LONGEST_VALUE = 40


def compare(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Two or more runs, as in every command.", autocompletion=complete_run),
    ],
    root: Root = Path("runs"),
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "-m", metavar="KEY", help="Plot the curves of this metric over each other; can be repeated."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with all curves.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs with each other.

    Shows the params that differ, the last and the best value of each metric, status, duration and command.
    """
    from runcast.cli.output import console, print_json
    from runcast.history.views.side_by_side import compare_runs

    directories = list({one.path.resolve(): one for one in (find(word, root) for word in run)}.values())
    if len(directories) < 2:
        raise typer.BadParameter("name two or more different runs", param_hint="RUN…")
    if html is not None:
        from runcast.history.views.page import write_page

        write_page(html, directories)
        typer.echo(f"Written: {html}", err=json)
    found = compare_runs(directories)
    if json:
        print_json(found)
    elif metric:
        _print_plots(console(), directories, found.names, metric)
    elif html is None:
        _print_table(console(), found)


def _print_plots(out: "Console", directories: list[Any], names: list[str], metrics: list[str]) -> None:
    from rich.text import Text

    from runcast.cli.curves import overlay
    from runcast.cli.output import number
    from runcast.history.views.side_by_side import curves_of

    for word in metrics:
        key, curves = curves_of(directories, word)
        out.print()
        out.print(key, style="bold")
        for line in overlay(curves, min(out.width, 100), PLOT_LINES):
            out.print(Text.assemble(*((text, "" if who is None else COLORS[who % len(COLORS)]) for text, who in line)))
        for who, (name, curve) in enumerate(zip(names, curves, strict=True)):
            last = number(curve[-1][1]) if curve else "none"
            out.print(Text.assemble(("  ⣿ ", COLORS[who % len(COLORS)]), f"{name}  {last}"))


def _print_table(out: "Console", found: "RunComparison") -> None:
    from rich.table import Table

    from runcast.cli.output import ago, duration, word

    listed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    listed.add_column("", overflow="fold", min_width=12)
    for name in found.names:
        listed.add_column(name, overflow="fold", justify="right")
    listed.add_row("status", *(word(status) for status in found.statuses))
    listed.add_row("started", *(ago(moment) for moment in found.created))
    listed.add_row("took", *(duration(seconds) for seconds in found.durations_s))
    if len(set(found.commands)) > 1:
        listed.add_row("command", *found.commands)
    _section(listed, f"params that differ ({found.same} are the same)", found.params)
    _section(listed, "summary", found.summary)
    last = {key: one.last for key, one in found.metrics.items()}
    _section(listed, "last value", last)
    several = {key: one for key, one in found.metrics.items() if one.least != one.last or one.greatest != one.last}
    _section(listed, "least value", {key: one.least for key, one in several.items()})
    _section(listed, "greatest value", {key: one.greatest for key, one in several.items()})
    out.print(listed)


def _section(listed: Any, title: str, rows: dict[str, list[Any]]) -> None:
    from rich.text import Text

    from runcast.cli.output import number

    if not rows:
        return
    listed.add_row("")
    listed.add_row(Text(title, style="dim"))
    for key, values in rows.items():
        shown = [
            "–" if value is None else number(value) if type(value) in (int, float) else str(value)[:LONGEST_VALUE]
            for value in values
        ]
        listed.add_row(key, *shown)
