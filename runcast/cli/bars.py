"""Progress bars for the command line."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn


class Bars:
    """One progress bar per tracker on standard error; nothing without a terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        error = Console(stderr=True)
        columns = (TextColumn("{task.description:<12}"), BarColumn(bar_width=30), MofNCompleteColumn())
        self._bars = Progress(*columns, console=error, transient=True, disable=quiet or not error.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, name: str, done: int, total: int) -> None:
        """Move a tracker's bar."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)
