"""`runcast status`: the runs, and the progress of each tracker."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runcast.cli.errors import complain
from runcast.cli.options import Json, Root, complete_run, find

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.overview import RunOverview, TrackerOverview


def status(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="A run's id or name, or the beginning of either, or its folder. Default: list all runs.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    root: Root = Path("runs"),
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="List at most this many runs, the newest.")] = 20,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Print it again every 2 s, until nothing changes any more.")
    ] = False,
    json: Json = False,
) -> None:
    """List the runs, or describe one.

    Shows what each tracker has received, what is waiting, and what went wrong.
    """
    from runcast.cli.output import console, follow, print_json

    if json:
        runs, damaged = _overviews(run, root, limit)
        print_json(runs if run is None else runs[0])
    elif watch:
        follow(lambda out: _print_all(out, run, root, limit)[0])
        return
    else:
        _, damaged = _print_all(console(), run, root, limit)
    for message in damaged:
        complain(message)


def _overviews(run: str | None, root: Path, limit: int) -> "tuple[list[RunOverview], list[str]]":
    """Return the runs, and messages about those that cannot be read."""
    from runcast.core.errors import JournalError
    from runcast.history.finding import list_runs
    from runcast.history.overview import overview

    if run is not None:
        return [overview(find(run, root))], []
    runs, damaged = [], []
    for directory in list_runs(root)[-limit:]:
        try:
            runs.append(overview(directory))
        except (JournalError, OSError) as error:
            damaged.append(str(error))
    return runs, damaged


def _print_all(out: "Console", run: str | None, root: Path, limit: int) -> tuple[bool, list[str]]:
    """Print the runs; return whether one of them still changes, and messages about those that cannot be read."""
    runs, damaged = _overviews(run, root, limit)
    if run is None:
        _print_runs(out, runs, root)
    else:
        _print_run(out, runs[0], find(run, root).journal)
    phases = {tracker.phase for one in runs for tracker in one.trackers if not tracker.left}
    changes = any(one.status == "running" for one in runs) or bool(phases & {"starting", "delivering", "retrying"})
    return changes, damaged


def _print_runs(out: "Console", runs: "list[RunOverview]", root: Path) -> None:
    from runcast.cli.output import ago, count, line, notes, one_line, run_id, table, word
    from runcast.history.finding import nothing_in

    if not runs:
        line(out, nothing_in(root))
        return
    listed = table("run", "name", "status", "started", "points", "trackers", right=("points",), shrinks="name")
    for run in runs:
        name, status = one_line(run.name), word(run.status)
        listed.add_row(run_id(out, run.id), name, status, ago(run.created), count(run.points), _summary(run))
    out.print(listed)
    if lossy := [run for run in runs if run.dropped]:
        named = ", ".join(f"{run.name} ({count(run.dropped)})" for run in lossy)
        notes(out, [("", f"Values were dropped in {named}. The reasons: runcast show RUN")])


def _summary(run: "RunOverview") -> str:
    """Return the progress of the trackers in a few words."""
    trackers = [tracker for tracker in run.trackers if tracker.phase is not None or not tracker.measures]
    if not trackers:
        return "none"
    complete = sum(tracker.phase == "finished" and not tracker.waiting for tracker in trackers)
    if complete == len(trackers):
        return f"all {complete}" if complete > 1 else trackers[0].name
    return f"{complete} of {len(trackers)}"


def _waiting(tracker: "TrackerOverview") -> str:
    """Return how many points wait, and since when."""
    from runcast.cli.output import count

    return f"{count(tracker.waiting)}, {tracker.lag_s:.0f} s" if tracker.waiting else count(0)


def _print_run(out: "Console", run: "RunOverview", journal: Path) -> None:
    from runcast.autodetect.selection import why_not
    from runcast.cli.output import (
        CAST_NOWHERE,
        ago,
        commands,
        count,
        headline,
        nearby,
        notes,
        one_line,
        print_damaged,
        print_dropped,
        table,
        word,
    )
    from runcast.delivery.sending.refusals import refused_values
    from runcast.journal.paths import argument
    from runcast.redaction.console import counted

    out.print(headline(run.name, "  ", word(run.status)))
    facts = f"{run.project} · {run.id} · started {ago(run.created)} on {run.host} · {counted(run.points, 'point')}"
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
            _waiting(tracker),
            one_line(nearby(tracker.where, run.path)),
        )
    out.print(listed if run.trackers else CAST_NOWHERE)
    errors = [(tracker.name, tracker.error) for tracker in run.trackers if tracker.error]
    refused = [(t.name, refused_values(reason, n)) for t in run.trackers for reason, n in t.refused.items()]
    covered = [(tracker.name, tracker.coverage) for tracker in run.trackers if tracker.coverage]
    absent = {name: reason for name, reason in run.skipped.items() if not reason.startswith("is not installed")}
    others = [name for name in run.skipped if name not in absent]
    notes(
        out,
        [
            *covered,
            *errors,
            *refused,
            *((name, f"takes no part: {why_not(reason)}") for name, reason in absent.items()),
            *([("", f"not installed: {', '.join(others)}")] if others else []),
        ],
    )
    print_dropped(out, journal)
    print_damaged(out, run.damaged)
    commands(out, "Open it with", [(tracker.name, tracker.open_command or tracker.where) for tracker in run.trackers])
    if any(tracker.waiting for tracker in run.trackers) and run.status != "running":
        commands(out, "Deliver the rest with", [("", f"runcast sync {argument(Path(run.path))}")])
