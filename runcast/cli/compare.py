"""`runcast compare`: runs beside each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runcast.cli.options import Json, Root, complete_run, find, page_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

    from runcast.history.views.side_by_side import RunComparison

COLORS = ("cyan", "magenta", "yellow", "green", "blue", "red")
PLOT_LINES = 12
LONGEST_NAME, LONGEST_VALUES = 24, (40, 80, 160)
KEY_WIDTH, RUN_WIDTH = 28, 13  # of a terminal, for deciding how many runs fit beside each other


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
        Path | None,
        typer.Option(
            "--html", metavar="FILE", callback=page_file, help="Write a page with all curves.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs with each other.

    Shows the params that differ, the last and the best value of each metric, status, duration and command.
    """
    from runcast.cli.output import console, print_json
    from runcast.history.views.side_by_side import compare_runs, distinct_names

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
        _print_plots(console(), directories, distinct_names(found.names, found.ids), metric)
    elif html is None:
        _print_tables(console(), found)


def _print_plots(out: "Console", directories: list[Any], names: list[str], metrics: list[str]) -> None:
    from rich.text import Text

    from runcast.cli.curves import overlay
    from runcast.cli.output import number
    from runcast.history.views.side_by_side import curves_of
    from runcast.redaction.console import visible

    for word in metrics:
        key, curves = curves_of(directories, word)
        out.print()
        out.print(key, style="bold")
        for line in overlay(curves, min(out.width, 100), PLOT_LINES):
            out.print(Text.assemble(*((text, "" if who is None else COLORS[who % len(COLORS)]) for text, who in line)))
        for who, (name, curve) in enumerate(zip(names, curves, strict=True)):
            last = number(curve[-1][1]) if curve else "none"
            out.print(Text.assemble(("  ⣿ ", COLORS[who % len(COLORS)]), f"{visible(name)}  {last}"))


def _print_tables(out: "Console", found: "RunComparison") -> None:
    """Print the runs beside each other, in a terminal only as many as fit; the others follow below."""
    from rich.table import Table

    from runcast.cli.output import WIDE
    from runcast.cli.show import cut_names
    from runcast.history.views.side_by_side import distinct_names

    is_wide = out.width >= WIDE
    names = distinct_names(found.names, found.ids)
    labels = names if is_wide else cut_names(names, LONGEST_NAME)
    at_once = len(labels) if is_wide else max(1, (out.width - KEY_WIDTH) // RUN_WIDTH)
    rows = list(_rows(found, is_wide=is_wide))
    for start in range(0, len(labels), at_once):
        listed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        listed.add_column("", overflow="fold", min_width=12)
        for label in labels[start : start + at_once]:
            listed.add_column(label, overflow="fold", justify="right")
        for key, values in rows:
            listed.add_row(key, *values[start : start + at_once])
        if start:
            out.print()
        out.print(listed)


def _rows(found: "RunComparison", *, is_wide: bool) -> "Iterator[tuple[str | Text, list[str | Text]]]":
    """Yield the rows of the table: a title, or a key, with what each run has."""
    from rich.text import Text

    from runcast.cli.output import ago, duration, word

    yield "status", [word(status) for status in found.statuses]
    yield "started", [ago(moment) for moment in found.created]
    yield "took", [duration(seconds) for seconds in found.durations_s]
    if len(set(found.commands)) > 1:
        yield "command", [*found.commands]
    several = {key: one for key, one in found.metrics.items() if one.least != one.last or one.greatest != one.last}
    sections: dict[str, dict[str, list[Any]]] = {
        f"params that differ ({found.same} are the same)": found.params,
        "summary": found.summary,
        "last value": {key: one.last for key, one in found.metrics.items()},
        "least value": {key: one.least for key, one in several.items()},
        "greatest value": {key: one.greatest for key, one in several.items()},
    }
    for title, rows in sections.items():
        if rows:
            yield "", []
            yield Text(title, style="dim"), []
        for key, values in rows.items():
            shown = list(map(_value, values))
            yield key, [*(shown if is_wide else _cut_values(shown))]


def _value(value: Any) -> str:
    from runcast.cli.output import number

    return "–" if value is None else number(value) if type(value) in (int, float) else str(value)


def _cut_values(texts: list[str]) -> list[str]:
    """Shorten long values in the middle, rather less where they would look the same."""
    from runcast.cli.show import cut

    shortened = texts
    for longest in LONGEST_VALUES:
        shortened = [cut(text, longest) for text in texts]
        if len(set(shortened)) == len(set(texts)):
            break
    return shortened
