"""The arguments that several commands share, and what they mean."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeAlias, TypeVar

import typer

from runcast.cli.errors import complain

if TYPE_CHECKING:
    from collections.abc import Callable

    from runcast.journal.layout import RunDirectory


class _Checked(Protocol):
    @property
    def is_right(self) -> bool: ...


Result = TypeVar("Result", bound=_Checked)


def in_home(path: Path) -> Path:
    """Expand ~ as `runcast.init` does, which a shell leaves alone in a variable and in `--dir=~/runs`."""
    try:
        return path.expanduser()
    except RuntimeError:  # there is no home
        return path


def page_file(path: Path | None) -> Path | None:
    """Return the file of a page, which must be named as one: `show --html NAME` rather means the run of that name."""
    if path is not None and path.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"'{path}' does not end in .html. Name the file of the page, as in: --html run.html")
    return path and in_home(path)


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of runs for the shell to complete, the newest first."""
    from runcast.history.finding import run_names

    root = in_home(Path(ctx.params.get("root") or "runs"))
    return [name for name in run_names(root) if name.startswith(incomplete)]


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
RunWords: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN",
        help="Runs: their ids or names, or the beginnings of either, or their folders, as in runs/*. Default: the "
        "newest run.",
        show_default=False,
        autocompletion=complete_run,
    ),
]
Every: TypeAlias = Annotated[bool, typer.Option("--all", help="Every run in the folder, instead of one.")]
Root: TypeAlias = Annotated[
    Path,
    typer.Option("--dir", envvar="RUNCAST_DIR", callback=in_home, help="The folder that holds the runs."),
]
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

    return list(dict.fromkeys(map(canonical_name, names))) if names else None


def find(word: str | None, root: Path) -> "RunDirectory":
    """Find the run that the user means."""
    from runcast.history.finding import find_run

    return find_run(word, root)


def find_all(words: list[str] | None, root: Path, *, every: bool) -> "list[RunDirectory]":
    """Find the runs that the user means; among several words, those that do not name a run are skipped and reported."""
    from runcast.core.errors import JournalError
    from runcast.history.finding import list_runs, nothing_in

    if every:
        if words:
            raise typer.BadParameter("it selects every run: omit RUN", param_hint="--all")
        if not (runs := list_runs(root)):
            typer.echo(f"note: {nothing_in(root)}", err=True)
        return runs
    if words is None or len(words) < 2:
        return [find(words[0] if words else None, root)]
    found, skipped = {}, []
    for word in words:
        try:
            directory = find(word, root)
        except JournalError:
            skipped.append(word)
        else:
            found[directory.path.resolve()] = directory
    if not found:
        raise JournalError(f"None of these is a run: {', '.join(words)}. Name folders of runs.")
    if skipped:
        typer.echo(f"note: skipped, not a run: {', '.join(skipped)}", err=True)
    return list(found.values())


def for_each(
    directories: "list[RunDirectory]",
    work: "Callable[[RunDirectory], list[Result]]",
    show: "Callable[[RunDirectory, list[Result]], None] | None",
) -> tuple[dict[str, list[Result]], bool]:
    """Do something with each run and show what it gives; among several, one that fails is reported and left out.

    Return what they give, by the runs' ids, and whether each gave something and all of it is right.
    """
    from runcast.core.errors import RuncastError

    found: dict[str, list[Result]] = {}
    for directory in directories:
        try:
            results = work(directory)
        except (RuncastError, OSError) as error:
            if len(directories) == 1:
                raise
            complain(str(error))
            continue
        if show is not None:
            if found:
                typer.echo()  # between two runs
            show(directory, results)
        found[directory.path.name] = results
    is_right = all(result.is_right for results in found.values() for result in results)
    return found, is_right and len(found) == len(directories)


def taking_part(names: list[str] | None, directory: "RunDirectory") -> list[str] | None:
    """Return the trackers that have a part in the run."""
    return None if names is None else [name for name in names if name in directory.load().trackers]
