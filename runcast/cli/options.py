"""The arguments that several commands share, and the exit statuses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from runcast.journal.layout import RunDirectory

EXIT_OK, EXIT_WRONG, EXIT_USAGE = 0, 1, 2


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of runs for the shell to complete, the newest first."""
    from runcast.history.finding import run_names

    return [name for name in run_names(Path(ctx.params.get("root") or "runs")) if name.startswith(incomplete)]


def complete_tracker(incomplete: str) -> list[str]:
    """Return the names of trackers for the shell to complete."""
    from runcast.integrations.table import TABLE

    return [name for name in TABLE if name.startswith(incomplete)]


RunWord: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A run's id or name, or the beginning of either, or its folder. Default: the newest run.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
Root: TypeAlias = Annotated[Path, typer.Option("--dir", envvar="RUNCAST_DIR", help="The folder that holds the runs.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]
Trackers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--tracker",
        "-t",
        metavar="NAME",
        help="Only this tracker; can be repeated. Default: all.",
        show_default=False,
        autocompletion=complete_tracker,
    ),
]
Offline: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--offline/--online",
        envvar="RUNCAST_OFFLINE",
        help="Only local modes, or only online ones. Default: online where credentials are configured.",
        show_default=False,
    ),
]

Trust: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Trust a run that was begun by another user or on another machine: use its options, its tracker "
        "classes, and its delivery state.",
    ),
]
Classes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--class",
        metavar="NAME=MODULE:CLASS",
        help="The class of your own tracker; can be repeated.",
        show_default=False,
    ),
]


def classes_of(words: list[str] | None) -> dict[str, str]:
    """Parse the classes given by the user."""
    found = {}
    for word in words or ():
        name, equals, target = word.partition("=")
        if not (name and equals and ":" in target):
            raise typer.BadParameter(f"{word!r} is not of the form mine=package.module:MyTracker", param_hint="--class")
        found[name] = target
    return found


def canonical(names: list[str] | None) -> list[str] | None:
    """Return the table's names for the trackers that the user gave; None if none was given."""
    from runcast.autodetect.selection import canonical_name

    return [canonical_name(name) for name in names] if names else None


def find(word: str | None, root: Path) -> "RunDirectory":
    """Find the run that the user means."""
    from runcast.history.finding import find_run

    return find_run(word, root)
