"""`runcast doctor`: what is installed, configured and writable, and how to fix the rest."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from runcast.cli.errors import EXIT_WRONG
from runcast.cli.options import Json, Offline, Root

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.autodetect.health import Health, TrackerHealth


def doctor(root: Root = Path("runs"), offline: Offline = None, json: Json = False) -> None:
    """Check this machine and every tracker.

    Shows whether each tracker can be used, where a run would go and why, and how to fix problems. Imports none of them.
    """
    from runcast.autodetect.health import examine
    from runcast.cli.output import console, print_json

    health = examine(root, offline)
    print_json(health) if json else _print(console(), health)
    if not health.is_writable:
        raise typer.Exit(EXIT_WRONG)


def _print(out: "Console", health: "Health") -> None:
    from runcast.cli.output import commands, mark, notes, table, word

    torch = f"PyTorch {health.torch}, {', '.join(health.devices) or 'no GPU'}" if health.torch else "no PyTorch"
    out.print(f"runcast {health.runcast} · Python {health.python} · {torch}")
    runs = (
        f"runs are kept in {health.runs}"
        if health.is_writable
        else f"{health.runs} cannot be written: choose another folder with --dir"
    )
    out.print(runs, style="dim" if health.is_writable else "red")
    out.print()
    listed = table("", "tracker", "version", "mode", "a run goes to", "because", wraps="because")
    for tracker in health.trackers:
        listed.add_row(
            mark(tracker.mode is not None),
            tracker.name,
            tracker.version or "–",
            word(tracker.mode),
            tracker.where or "–",
            tracker.reason or tracker.problem,
        )
    out.print(listed)
    notes(out, [(tracker.name, note) for tracker in health.trackers for note in _notes(tracker)])
    commands(
        out,
        "To report to the service, not only to local files",
        [(t.name, t.log_in) for t in health.trackers if t.mode == "local" and t.log_in],
    )


def _notes(tracker: "TrackerHealth") -> list[str]:
    if tracker.problem:
        return [tracker.mend] if tracker.mend else []
    if tracker.support == "newer":
        return [f"{tracker.version} is newer than {tracker.tested}, the latest tested version"]
    return []
