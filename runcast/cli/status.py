"""`runcast status`: the runs, and the progress of each tracker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runcast.cli.options import Json, Root, find

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.overview import RunOverview


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run's id, the beginning of its id, its name or its folder. Default: list all runs.",
            show_default=False,
        ),
    ] = None,
    root: Root = Path("runs"),
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most this many runs, the newest.")] = 20,
    json: Json = False,
) -> None:
    """List the runs, or describe one.

    Shows what each tracker has received, what is waiting, and what went wrong.
    """
    from runcast.cli.output import console, print_json
    from runcast.core.errors import JournalError
    from runcast.history.finding import list_runs
    from runcast.history.overview import overview

    if run is not None:
        directory = find(run, root)
        one = overview(directory)
        print_json(one) if json else _print_run(console(), one, directory.journal)
        return
    runs, damaged = [], []
    for directory in list_runs(root)[-limit:]:
        try:
            runs.append(overview(directory))
        except JournalError as error:
            damaged.append(str(error))
    if json:
        print_json(runs)
    else:
        _print_runs(console(), runs, root)
    for message in damaged:
        typer.echo(f"runcast: {message}", err=True)


def _print_runs(out: "Console", runs: "list[RunOverview]", root: Path) -> None:
    from runcast.cli.output import ago, count, table, word

    if not runs:
        out.print(f"There are no runs in {root}. Create one with: runcast demo")
        return
    listed = table("run", "name", "status", "started", "points", "trackers", right=("points",), shrinks="name")
    for run in runs:
        listed.add_row(run.id, run.name, word(run.status), ago(run.created), count(run.points), _summary(run))
    out.print(listed)


def _summary(run: "RunOverview") -> str:
    """Return the progress of the trackers in a few words."""
    trackers = [tracker for tracker in run.trackers if tracker.phase is not None or not tracker.measures]
    if not trackers:
        return "none"
    complete = sum(tracker.phase == "finished" and not tracker.waiting for tracker in trackers)
    if complete == len(trackers):
        return f"all {complete}" if complete > 1 else trackers[0].name
    return f"{complete} of {len(trackers)}"


def _print_run(out: "Console", run: "RunOverview", journal: Path) -> None:
    from rich.text import Text

    from runcast.cli.output import ago, commands, count, nearby, notes, print_dropped, table, word

    out.print(Text.assemble((run.name, "bold"), "  ", word(run.status)))
    facts = f"{run.project} · {run.id} · started {ago(run.created)} on {run.host} · {count(run.points)} points"
    out.print(facts, style="dim")
    out.print()
    listed = table(
        "tracker", "mode", "delivery", "delivered", "waiting", "where", right=("delivered", "waiting"), shrinks="where"
    )
    for tracker in run.trackers:
        mode = "meter" if tracker.measures else "online" if tracker.online else "local"
        mode = "left" if tracker.left else mode
        listed.add_row(
            tracker.name,
            mode,
            word(tracker.phase),
            count(tracker.delivered),
            count(tracker.waiting),
            nearby(tracker.where, run.path),
        )
    out.print(listed)
    errors = [(tracker.name, tracker.error) for tracker in run.trackers if tracker.error]
    refused = [(t.name, f"{count(n)} refused: {reason}") for t in run.trackers for reason, n in t.refused.items()]
    covered = [(tracker.name, tracker.coverage) for tracker in run.trackers if tracker.coverage]
    absent = [(name, f"takes no part: it {reason}") for name, reason in run.skipped.items()]
    notes(out, [*covered, *errors, *refused, *absent])
    print_dropped(out, journal)
    if run.damaged:
        notes(out, [("", f"{count(run.damaged)} of the journal's lines are truncated or damaged, and lost.")])
    commands(out, "Open it with", [(tracker.name, tracker.open_command or tracker.where) for tracker in run.trackers])
    if any(tracker.waiting for tracker in run.trackers) and run.status != "running":
        commands(out, "Deliver the rest with", [("", f"runcast sync {run.path}")])
