"""`runcast get`: the points of one metric, or the rows of tables, for programs and spreadsheets."""

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
        str,
        typer.Argument(
            metavar="METRIC",
            help="The metric: its name, or the beginning or the last part of it; or the name of a table.",
        ),
    ],
    root: Root = Path("runs"),
    since: Annotated[
        int | None, typer.Option("--since", metavar="STEP", help="Only what is after this step.", show_default=False)
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV. This is the default.")] = False,
    json: Json = False,
) -> None:
    """Print the points of one metric, or the rows of a table.

    In the order of logging. A point has its time, in seconds since the epoch, and a row of a table its step.
    """
    from runcast.cli.output import print_json
    from runcast.history.views.contents import points_of, rows_of
    from runcast.values.media.cells import csv_line
    from runcast.values.scalars import encodable

    if csv and json:
        raise typer.BadParameter("choose one of --csv and --json", param_hint="--csv")
    directory = find(run, root)
    if (rows := rows_of(directory, metric, since)) is not None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = [[row.get(name) for name in columns] for row in rows]
        if json:
            cells = [[encodable(cell) if isinstance(cell, float) else cell for cell in line] for line in lines]
            print_json({"table": metric, "columns": columns, "rows": cells})
        else:
            typer.echo(csv_line(columns) + "".join(map(csv_line, lines)), nl=False)
        return
    key, found = points_of(directory, metric, since)
    if json:
        print_json({"metric": key, "points": [[one.step, encodable(one.value), one.time] for one in found]})
        return
    typer.echo("step,value,time")
    for one in found:
        typer.echo(f"{one.step},{encodable(one.value)},{one.time}")
