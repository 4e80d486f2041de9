"""Finding a run by its path, id or name, by the beginning of either, or as the newest."""

import contextlib
import shlex
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from runcast.core.errors import JournalError
from runcast.journal.layout import RunDirectory

NAMED = 5  # runs in a message
LOOKED_INTO = 100  # folders, for runs nearby


def list_runs(root: Path) -> list[RunDirectory]:
    """List the runs under *root*, the oldest first and each once, whatever else is in the folder."""
    found = []
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            with contextlib.suppress(OSError):
                if not entry.is_symlink():
                    run = RunDirectory(entry)
                    found.append((run.run_json.stat().st_mtime, entry.name, run))
    return [run for _, _, run in sorted(found, key=lambda one: one[:2])]


def readable_runs(root: Path) -> list[RunDirectory]:
    """List the runs under *root* as `list_runs` does, without those that are damaged."""

    def is_readable(run: RunDirectory) -> bool:
        with contextlib.suppress(JournalError):
            return bool(run.load())
        return False

    return list(filter(is_readable, list_runs(root)))


def run_names(root: Path) -> list[str]:
    """List the names of the runs under *root*, each once, the newest first."""
    return list(dict.fromkeys(filter(None, map(_name, reversed(list_runs(root))))))


def find_run(word: str | None, root: Path) -> RunDirectory:
    """Find the run that a user means.

    Args:
        word: A path; an id or a name, or the beginning of either; the part of an id behind its last dash, as lists show
            it; or None, "last" or "latest" for the newest run.
        root: The folder that holds the runs.

    Raises:
        JournalError: None or several match; the message names some that could be meant.
    """
    if word not in (None, "", "last", "latest") and (named := RunDirectory(Path(str(word)))).run_json.is_file():
        return named
    runs = list_runs(root)
    if not runs:
        raise JournalError(nothing_in(root))
    if word in (None, "", "last", "latest"):
        return runs[-1]
    names = {run: _name(run) for run in runs}
    for matches in _readings(str(word), names):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise JournalError(
                f"{len(matches)} runs in {root} match {word!r}. It could be {_listed(matches[-NAMED:], names)}"
            )
    raise JournalError(f"No run in {root} matches {word!r}. {_guess(str(word), names)}")


def nothing_in(root: Path) -> str:
    """Return a message for a folder without runs."""
    if (place := _elsewhere(root)) is not None:
        what = f"are no runs in {root}" if root.is_dir() else f"is no folder {root} in {Path.cwd()}"
        return f"There {what}. There are some elsewhere: add --dir {shlex.quote(str(place))}"
    if not root.is_dir():
        return (
            f"There is no folder {root} in {Path.cwd()}. Name the folder of your runs with --dir or RUNCAST_DIR, or "
            "make a run with: runcast demo"
        )
    return f"There are no runs in {root}. Name another folder with --dir or RUNCAST_DIR, or make a run: runcast demo"


def _elsewhere(root: Path) -> Path | None:
    """Return a folder nearby that holds runs: one in *root*, the working directory, or a usual one in or above it."""
    within: list[Path] = []
    with contextlib.suppress(OSError):
        within = sorted(islice((entry for entry in root.iterdir() if entry.is_dir()), LOOKED_INTO))
    places = [*within, Path(), Path("runs"), Path("..", "runs")]
    return next((place for place in places if any(place.glob("*/run.json"))), None)


def short_id(run_id: str) -> str:
    """Return the part of an id that distinguishes runs in a list: behind the last dash, or the whole."""
    tail = run_id.rpartition("-")[2]
    return tail if len(tail) >= 6 else run_id


def _readings(word: str, names: dict[RunDirectory, str]) -> Iterable[list[RunDirectory]]:
    """Yield the runs that a word can mean, the most literal reading first."""
    yield [run for run in names if run.path.name == word]
    yield [run for run, name in names.items() if name == word]
    yield [run for run, name in names.items() if run.path.name.startswith(word) or name.startswith(word)]
    yield [run for run in names if short_id(run.path.name).startswith(word)]


def _guess(word: str, names: dict[RunDirectory, str]) -> str:
    import difflib  # only on the way to an error

    known = {name: run for run, name in names.items()} | {run.path.name: run for run in names}
    close = dict.fromkeys(known[one] for one in difflib.get_close_matches(word, known, n=3, cutoff=0.6))
    if close:
        return f"Did you mean {_listed(close, names)}?"
    return f"The newest {'is' if len(names) == 1 else 'are'} {_listed(list(names)[-NAMED:], names)}"


def _listed(runs: Iterable[RunDirectory], names: dict[RunDirectory, str]) -> str:
    return ", ".join(f"{names[run]} ({run.path.name})" for run in runs)


def _name(run: RunDirectory) -> str:
    try:
        return run.load().name
    except JournalError:
        return ""
