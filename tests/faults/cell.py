"""One cell of the matrix of faults, and the trial that fills it in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Says what a fault did. None means that the question does not apply to it."""

    part: str
    fault: str
    moment: str
    tracker: str
    unharmed: bool | None
    lost: int | None
    twice: int | None
    status_right: bool | None
    exit_s: float | None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Tell whether training was unharmed, nothing is lost or there twice, and the status is right."""
        return self.unharmed is not False and not self.lost and not self.twice and self.status_right is not False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Is a cell before it was tried. A `fast` one belongs to `make test`, too; `run` gets an empty folder of its own."""

    part: str
    fault: str
    moment: str
    tracker: str
    fast: bool
    run: Callable[[Path], Cell]
