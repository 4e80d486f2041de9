"""`runcast list`, `du`, `rm` and `import`: the runs in a folder, their size, removal, and runs of other tools."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runcast.cli.errors import EXIT_WRONG, complain
from runcast.cli.options import Json, Root, complete_run, find

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.importing import Imported
    from runcast.history.removal import Remains
    from runcast.history.views.listing import ListedRun

MANY = 200  # runs, of which a list may take seconds
MAX_METRICS, LONGEST_METRIC = 2, 16  # columns of a list, and the characters of a line of their names


def list_(
    root: Root = Path("runs"),
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only runs of this name; may contain wildcards: 'lr-*'.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option("--best", "-b", metavar="METRIC", help="Show and sort by the best value of a metric."),
    ] = None,
    is_least: Annotated[
        bool, typer.Option("--min/--max", help="Whether the least or the greatest value is the best. Default: --min.")
    ] = True,
    sort: Annotated[
        str | None,
        typer.Option("--sort", "-s", metavar="METRIC", help="Sort by a last value, by 'name' or 'duration'."),
    ] = None,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project; wildcards work.")] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", help="Only runs that are running, finished, failed, killed, crashed or unknown."),
    ] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only runs with this tag.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", "-w", metavar="PARAM=VALUE", help="Only runs with this param; also !=, <, >, <=, >=."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most this many, the last ones.")] = None,
    json: Json = False,
) -> None:
    """List runs, filtered and sorted.

    The newest, or the best, is the last one, just above the prompt.
    """
    from runcast.cli.bars import Bars
    from runcast.cli.output import console, print_json
    from runcast.delivery.liveness import STATUSES
    from runcast.history.finding import list_runs, nothing_in
    from runcast.history.views.listing import Choice, listed_runs

    if status is not None and status not in STATUSES:
        raise typer.BadParameter(f"it must be one of {', '.join(STATUSES)}", param_hint="--status")
    choice = Choice(name=name, project=project, status=status, tag=tag, conditions=tuple(where or ()))
    takes_long = best or where or len(list_runs(root)) > MANY
    with Bars(quiet=json or not takes_long) as bars:
        rows, damaged = listed_runs(
            root,
            choice,
            lambda done, total: bars.show("reading", done, total),
            best=best,
            is_least=is_least,
            sort=sort,
            limit=limit,
        )
    if json:
        print_json(rows)
    elif rows:
        _print_list(console(), rows, best=best, sort=sort)
    else:
        console().print("No run matches." if list_runs(root) else nothing_in(root))
    for message in damaged:
        complain(message)


def _print_list(out: "Console", rows: "list[ListedRun]", *, best: str | None, sort: str | None) -> None:
    from textwrap import wrap

    from runcast.cli.output import WIDE, ago, count, duration, number, one_line, run_id, table, word

    metrics = [] if best else _columns(rows, sort)
    headers = [f"best {best}", "at step"] if best else metrics
    if out.width < WIDE:
        headers = ["\n".join(wrap(header, LONGEST_METRIC)) for header in headers]
    listed = table("run", "name", "status", "started", "took", *headers, right=("took", *headers), shrinks="name")
    for row in rows:
        if best:
            values = ["–", "–"] if row.best is None else [number(row.best[0]), count(row.best[1])]
        else:
            values = [number(row.metrics[key]) if key in row.metrics else "–" for key in metrics]
        name, status = one_line(row.name), word(row.status)
        listed.add_row(run_id(out, row.id), name, status, ago(row.created), duration(row.duration_s), *values)
    out.print(listed)


def _columns(rows: "list[ListedRun]", sort: str | None) -> list[str]:
    """Choose the metrics to show: the one sorted by, else the most frequent ones that look like results."""
    from runcast.history.views.digest import metric_named

    known = {key: sum(key in row.metrics for row in rows) for row in rows for key in row.metrics}
    if sort is not None and sort not in ("name", "duration"):
        return [metric_named(sort, known)]
    results = [key for key in known if re.fullmatch(r"(.*[/_])?(loss|acc|accuracy|reward)", key)]
    first = sorted(results, key=lambda key: (-known[key], not key.startswith(("eval", "val", "test")), key))
    return first[:MAX_METRICS]


def du(root: Root = Path("runs"), json: Json = False) -> None:
    """Show what the runs take on the disk.

    The largest is the last one.
    """
    from runcast.cli.output import console, line, one_line, print_json, run_id, size, table
    from runcast.history.finding import nothing_in
    from runcast.history.removal import sizes

    found, out = sizes(root), console()
    if json:
        print_json(found)
        return
    if not found:
        line(out, nothing_in(root))
        return
    columns = ("journal", "media", "artifacts", "trackers", "total")
    listed = table("run", "name", *columns, right=columns, shrinks="name")
    for one in found:
        listed.add_row(run_id(out, one.id), one_line(one.name), *(size(getattr(one, column)) for column in columns))
    listed.add_row("", "all", *(size(sum(getattr(one, column) for one in found)) for column in columns))
    out.print(listed)


def rm(
    run: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="The runs to remove, as in every command.", autocompletion=complete_run),
    ],
    root: Root = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove runs from the disk, after asking.

    Says what of them lies in trackers, which keep it.
    """
    from runcast.cli.output import console, print_json
    from runcast.history.removal import remains, remove

    directories = {directory.path.resolve(): directory for directory in (find(word, root) for word in run)}
    found = [remains(directory) for directory in directories.values()]
    if not json:
        _print_remains(console(), found)
    if not yes and (json or not typer.confirm("Remove from this disk?", default=False)):
        if json:
            raise typer.BadParameter("with --json nobody can be asked: add --yes", param_hint="--json")
        raise typer.Exit(EXIT_WRONG)
    for directory in directories.values():
        remove(directory)
    if json:
        print_json(found)


def _print_remains(out: "Console", found: "list[Remains]") -> None:
    from runcast.cli.output import line, notes
    from runcast.redaction.console import counted

    for one in found:
        line(out, f"{one.name}  {one.path}")
        lost = [(name, f"{counted(number, 'point')} not delivered: lost") for name, number in one.undelivered.items()]
        notes(out, [*((name, f"keeps it: {where}") for name, where in one.elsewhere.items()), *lost])


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="What another tool has kept: a folder, a file, or the address of an MLflow server."
        ),
    ],
    tool: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help="The tool that has kept it. Default: it is found.", show_default=False
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", help="The project of the runs. Default: the tool's own.", show_default=False),
    ] = None,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Bring runs of another tool here.

    Each becomes a run like any other, for `show`, `compare` and `replay`. Repeating it brings only what is new.
    """
    from functools import partial

    from runcast.cli.output import commands, console, print_json
    from runcast.history.sources import import_runs
    from runcast.journal.paths import argument

    out = console()
    found = import_runs(source, root, tool=tool, project=project, tell=None if json else partial(_print_imported, out))
    if json:
        print_json(found)
    elif here := [one for one in found if one.is_right]:
        run = argument(Path(here[-1].path))
        shown = [("", f"runcast show {run}"), ("", f"runcast replay {run} --to NAME")]
        commands(out, "Look at the last one, or send it to a tracker, with", shown)
    if not all(one.is_right for one in found):
        raise typer.Exit(EXIT_WRONG)


def _print_imported(out: "Console", run: "Imported") -> None:
    from runcast.cli.output import headline, line, notes, word
    from runcast.journal.paths import shown
    from runcast.redaction.console import counted

    points = counted(run.points, "point")
    results = {
        "imported": points,
        "extended": f"had been imported; {points} more",
        "unchanged": "had been imported, and has nothing new",
        "own": "is a run of runcast, and is here already",
        "failed": f"failed: {run.error}",
    }
    status = word(run.status or "unknown")
    line(out, headline(run.name, f"  {shown(Path(run.path))}  ", status, f"  {results[run.result]}"))
    notes(out, list(run.dropped.items()))
