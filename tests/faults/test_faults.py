"""The fast part of the fault matrix; all of it is `make faults`."""

from pathlib import Path

import pytest

from faults.cell import Trial
from faults.matrix import collect, row, run_trial

FAST = [trial for trial in collect() if trial.fast]


@pytest.mark.slow
@pytest.mark.damages_journals
@pytest.mark.parametrize("trial", FAST, ids=lambda trial: trial.title)
def test_a_fault_costs_nothing(trial: Trial, tmp_path: Path) -> None:
    """Training goes on as without a tracker, each record arrives once, and the status is right."""
    cell = run_trial(trial, tmp_path / "trial")

    assert cell.holds, f"{' · '.join(row(cell))}\n{cell.note}"
