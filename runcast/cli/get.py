"""`runcast get`: the points of one metric, for programs and spreadsheets."""

from pathlib import Path
from typing import Annotated

import typer

from runcast.cli.options import Json, Root, complete_run, find


def get(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="The run, as in every command; 'last' is the newest.", autocompletion=complete_run
        ),
    ],
    metric: Annotated[
        str, typer.Argument(metavar="METRIC", help="The metric: its name, or the beginning or the last part of it.")
    ],
    root: Root = Path("runs"),
    since: Annotated[
        int | None, typer.Option("--since", metavar="STEP", help="Only points after this step.", show_default=False)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV: step, value, time. This is the default.")] = False,
    json: Json = False,
) -> None:
    """Print the points of one metric.

    In the order of logging, with the time of each in seconds since the epoch.
    """
    from runcast.cli.output import print_json
    from runcast.history.views.contents import points_of
    from runcast.values.scalars import encodable

    if csv and json:
        raise typer.BadParameter("choose one of --csv and --json", param_hint="--csv")
    key, found = points_of(find(run, root), metric, since)
    if json:
        print_json({"metric": key, "points": [[one.step, encodable(one.value), one.time] for one in found]})
        return
    typer.echo("step,value,time")
    for one in found:
        typer.echo(f"{one.step},{encodable(one.value)},{one.time}")
