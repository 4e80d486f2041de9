"""Finding a run by its path, id, beginning of an id, or name, or as the newest."""

import contextlib
from pathlib import Path

from runcast.core.errors import JournalError
from runcast.journal.layout import RunDirectory


def list_runs(root: Path) -> list[RunDirectory]:
    """List the runs under *root*, the oldest first and each once, whatever else is in the folder."""
    found = []
    with contextlib.suppress(OSError):
        for entry in root.iterdir():
            with contextlib.suppress(OSError):
                if not entry.is_symlink():
                    found.append(((entry / "run.json").stat().st_mtime, entry.name, RunDirectory(entry)))
    return [run for _, _, run in sorted(found, key=lambda one: one[:2])]


def find_run(word: str | None, root: Path) -> RunDirectory:
    """Find the run that a user means: a path, an id, the beginning of an id, a name, or the newest (None, "last").

    Raises:
        JournalError: None or several match.
    """
    runs = list_runs(root)
    if word in (None, "", "last", "latest"):
        if not runs:
            raise JournalError(f"There are no runs in {root}. Name a folder with --dir, or make one: runcast demo")
        return runs[-1]
    assert word is not None
    if (Path(word) / "run.json").is_file():
        return RunDirectory(Path(word))
    matches = [run for run in runs if run.path.name == word] or [run for run in runs if run.path.name.startswith(word)]
    matches = matches or [run for run in runs if _name(run) == word]
    if len(matches) != 1:
        known = ", ".join(run.path.name for run in (matches or runs)[-5:]) or "none"
        raise JournalError(
            f"{len(matches)} runs in {root} match {word!r}. {'It could be' if matches else 'The newest are'}: {known}"
        )
    return matches[0]


def _name(run: RunDirectory) -> str | None:
    try:
        return run.load().name
    except JournalError:
        return None
