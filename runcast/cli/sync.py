"""`runcast sync` and `runcast replay`: deliver the journal's records now."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runcast.cli.errors import EXIT_WRONG
from runcast.cli.options import (
    Classes,
    Every,
    Json,
    Offline,
    Root,
    RunWord,
    RunWords,
    Trackers,
    Trust,
    canonical,
    classes_of,
    find,
    find_all,
    for_each,
    taking_part,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console

    from runcast.history.delivering import Outcome
    from runcast.journal.layout import RunDirectory

STATUSES = ("finished", "failed", "killed", "crashed")


def sync(
    run: RunWords = None,
    root: Root = Path("runs"),
    tracker: Trackers = None,
    offline: Offline = None,
    every: Every = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Read each tracker back first, and deliver again what it has lost.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait",
            help="Hurry a running delivery of another process and wait for it, or skip its tracker.",
        ),
    ] = True,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Stay, and deliver the runs in the folder while they are written, here or on other machines; with "
            "--all, also those that have ended. RUN may be the folder.",
        ),
    ] = False,
    close: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help=f"End a run whose training died on another machine: {', '.join(STATUSES)}.",
            show_default=False,
        ),
    ] = None,
    trust: Trust = False,
    own_class: Classes = None,
    json: Json = False,
) -> None:
    """Deliver the records that the trackers still lack.

    Works after an outage, or on another machine. Repeating it never delivers anything twice.
    """
    from runcast.autodetect import decide
    from runcast.cli.bars import Bars
    from runcast.cli.output import console, print_json
    from runcast.history.sync import close as close_run, sync as deliver

    if watch:
        of_once = {
            "tracker": tracker,
            "mend": mend,
            "close": close,
            "no-wait": not wait,
            "class": own_class,
            "json": json,
        }
        if given := [f"--{name}" for name, value in of_once.items() if value]:
            raise typer.BadParameter(f"it cannot be combined with {', '.join(given)}", param_hint="--watch")
        _watch(run or [], root, every=every, offline=offline, trust=trust)
        return
    if every and close:
        raise typer.BadParameter("it selects every run: omit --close", param_hint="--all")
    if close is not None and close not in STATUSES:
        raise typer.BadParameter(f"it must be one of {', '.join(STATUSES)}", param_hint="--close")
    names, classes = canonical(tracker), classes_of(own_class)

    def one(directory: "RunDirectory") -> "list[Outcome]":
        if close is not None:
            close_run(directory, close)  # type: ignore[arg-type]
        with Bars(quiet=json) as bars:
            return deliver(
                directory,
                taking_part(names, directory) if every else names,
                decide=decide,
                offline=offline,
                mend=mend,
                trust=trust,
                classes=classes,
                progress=bars.show,
                wait=wait,
            )

    show = None if json else partial(_print_outcomes, console())
    found, is_right = for_each(find_all(run, root, every=every), one, show)
    if json:
        print_json(found)
    if not is_right:
        raise typer.Exit(EXIT_WRONG)


def _watch(words: list[str], root: Path, *, every: bool, offline: bool | None, trust: bool) -> None:
    from runcast.autodetect import decide
    from runcast.history.watching import Watcher
    from runcast.journal.paths import shown
    from runcast.redaction.console import say, warn

    def tell(run: str, left: "Collection[Outcome]") -> None:
        say(f"delivering {run}")
        for outcome in left:
            warn(f"{run} is not delivered to {outcome.name}: {outcome.note}")

    if len(words) > 1:
        raise typer.BadParameter("name one folder of runs", param_hint="RUN")
    folder = Path(words[0]) if words else root
    say(f"watching {shown(folder)}; end with Ctrl-C")
    Watcher(folder, decide=decide, tell=tell, every=every, offline=offline, trust=trust).watch()


def replay(
    to: Annotated[str, typer.Option("--to", metavar="NAME", help="The tracker.", show_default=False)],
    run: RunWord = None,
    root: Root = Path("runs"),
    offline: Offline = None,
    again: Annotated[
        bool, typer.Option("--again", help="Send a run online that the tracker has locally, from its first record on.")
    ] = False,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Send a run to another tracker.

    The tracker receives the whole run from its journal, even if it was not installed during the training.
    """
    from runcast.autodetect import decide
    from runcast.autodetect.selection import canonical_name
    from runcast.cli.bars import Bars
    from runcast.cli.output import console, print_json
    from runcast.history.replaying import replay as deliver

    name, directory = canonical_name(to), find(run, root)
    with Bars(quiet=json) as bars:
        outcome = deliver(directory, name, decide=decide, offline=offline, again=again, trust=trust, progress=bars.show)
    if json:
        print_json(outcome)
    else:
        _print_outcomes(console(), directory, [outcome])
    if not outcome.is_right:
        raise typer.Exit(EXIT_WRONG)


def _print_outcomes(out: "Console", directory: "RunDirectory", outcomes: "list[Outcome]") -> None:
    from runcast.cli.output import (
        CAST_NOWHERE,
        CHOOSE_ONE,
        commands,
        count,
        headline,
        line,
        notes,
        table,
        word,
    )
    from runcast.delivery.liveness import run_status
    from runcast.journal.paths import argument, shown

    file = directory.load()
    status = run_status(directory, file)
    line(out, headline(file.name, f"  {shown(directory.path)}  ", word(status)))
    out.print()
    if not outcomes:
        out.print(f"The script itself has delivered everything. {CHOOSE_ONE}" if file.trackers else CAST_NOWHERE)
        return
    listed = table("tracker", "result", "sent now", "in total", "waiting", right=("sent now", "in total", "waiting"))
    for outcome in outcomes:
        listed.add_row(
            outcome.name, word(outcome.result), count(outcome.delivered), count(outcome.points), count(outcome.waiting)
        )
    out.print(listed)
    notes(out, [(outcome.name, outcome.note) for outcome in outcomes if outcome.note])
    if status == "running":
        notes(out, [("", "The run is still training. Sync it again when it has ended.")])
    elif status == "unknown":
        where = f"on {file.host}, which cannot be seen from here"
        notes(out, [("", f"The run has no end yet: it is training, or has died, {where}. It stays open everywhere.")])
        commands(
            out, "If it is over, close it with", [("", f"runcast sync {argument(directory.path)} --close crashed")]
        )
    commands(out, "Open it with", [(outcome.name, outcome.open_command or outcome.where) for outcome in outcomes])
