"""One cell of the fault matrix, and the trial that fills it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Says what a fault did to a training, its data and its end. None means that the question does not apply.

    `lost` and `twice` count points (and other records) that a tracker lacks, or has more than once, after the fault is gone and `runcast sync` has run.
    `exit_s` is how long the training process took to leave once its work was done, in seconds.
    """

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
    def title(self) -> str:
        """Name the cell as its trial is named."""
        return " · ".join((self.part, self.fault, self.moment, self.tracker))

    @property
    def holds(self) -> bool:
        """Tell whether every promise that applies was kept."""
        return self.unharmed is not False and not self.lost and not self.twice and self.status_right is not False


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A cell yet to be filled; `make test` also runs the `fast` ones. `run` receives an empty folder of its own."""

    part: str
    fault: str
    moment: str
    tracker: str
    fast: bool
    run: Callable[[Path], Cell]

    @property
    def title(self) -> str:
        """Name the trial in one line."""
        return " · ".join((self.part, self.fault, self.moment, self.tracker))

    def fill(
        self,
        *,
        unharmed: bool | None = None,
        lost: int | None = None,
        twice: int | None = None,
        status_right: bool | None = None,
        exit_s: float | None = None,
        note: str = "",
    ) -> Cell:
        """Make this trial's cell."""
        return Cell(
            part=self.part,
            fault=self.fault,
            moment=self.moment,
            tracker=self.tracker,
            unharmed=unharmed,
            lost=lost,
            twice=twice,
            status_right=status_right,
            exit_s=exit_s,
            note=note,
        )
