"""What the world does to a run costs training nothing and loses no point: the part of the matrix that is fast."""

from pathlib import Path

import pytest

from tests.faults.cell import Trial
from tests.faults.world import trials

FAST = [trial for trial in trials() if trial.fast]


@pytest.mark.slow
@pytest.mark.parametrize("trial", FAST, ids=[f"{trial.fault}, {trial.moment}: {trial.tracker}" for trial in FAST])
def test_the_world_does_no_harm(trial: Trial, tmp_path: Path) -> None:
    """Training ends as without a tracker, and once the fault is gone each point is there once, with the right status."""
    cell = trial.run(tmp_path)

    assert cell.holds, cell
