"""`runcast open`: a tracker's own page on these runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runcast.cli.errors import EXIT_USAGE
from runcast.cli.options import Json, Root, find

if TYPE_CHECKING:
    from runcast.history.serving import Page


def open_(
    tracker: Annotated[
        str | None, typer.Argument(metavar="TRACKER", help="The tracker. Default: the first with a page.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", "-r", metavar="RUN", help="The run. Default: the newest that has a page.", show_default=False
        ),
    ] = None,
    root: Root = Path("runs"),
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="The port. Default: a free one.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Start a tracker's own page on these runs.

    Prints its address, and serves it until it is interrupted.
    """
    from runcast.cli.options import canonical
    from runcast.cli.output import print_json
    from runcast.history.finding import readable_runs
    from runcast.history.serving import find_page, serve

    names = canonical([tracker]) if tracker else None
    directories = [find(run, root)] if run else readable_runs(root)[::-1] or [find(None, root)]
    page = find_page(directories, names[0] if names else None, port)
    if json:
        print_json(page)
        return
    _print(page)
    if page.command is not None and (status := serve(page)):
        raise typer.Exit(status if status > 0 else EXIT_USAGE)


def _print(page: "Page") -> None:
    if page.command is None:
        typer.echo(f"{page.tracker}: {page.address}")
        return
    typer.echo(f"{page.tracker}: {page.address or 'in this terminal'}  (Ctrl-C ends it)")
    typer.echo(f"  {page.command}")
