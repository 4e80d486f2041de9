"""Every tracker of the table keeps the contract, with its real SDK in local mode, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runcast.testing import GUARANTEES
from tests.second_rank import EACH

# The trackers that can join a run which the user opened by the service's own means.
FOREIGN = {
    "clearml": "open_clearml_run",
    "comet_ml": "open_comet_run",
    "mlflow": "open_mlflow_run",
    "wandb": "open_wandb_run",
}

FOLDER = "a #%20?[x] ü{y}"  # each of its characters means something to somebody: a URI, a pattern, a template


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_the_tracker_keeps_the_contract(name: str, tmp_path: Path) -> None:
    """Each promise holds for each tracker that runcast brings; only what it declares not to hold is skipped."""
    foreign = ["--foreign", f"tests.conformance.foreign_runs:{FOREIGN[name]}"] if name in FOREIGN else []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    done = subprocess.run(
        [sys.executable, "-m", "runcast.testing", name, str(tmp_path / FOLDER), "--json", *foreign],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )

    assert done.returncode in (0, 1), done.stderr[-3000:]
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    report = "\n".join(
        f"{check['name']} ({check['guarantee']})\n    {check['detail']}"
        for check in checks.values()
        if check["outcome"] == "failed"
    )
    assert not report, report
    assert set(checks) == set(GUARANTEES)
