"""Bad input, a hundred thousand times: the property tests with many examples, and secrets with all seven trackers."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from faults.cell import Cell, Trial

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 3600
PART = "bad input"
FAULTS = {
    "any value, key, config, step; threads": "tests/properties/test_logging.py",
    "a journal that is cut, damaged, or on a full disk": "tests/properties/test_journal.py",
    "a tracker that fails and dies at random": "tests/properties/test_delivery.py",
    "200 secrets and 200 look-alikes, everywhere": "tests/properties/test_secrets.py",
    "a run directory that a stranger made": "tests/delivery/test_trust.py",
}
_CASES = re.compile(r"(\d+) passing")


def trials() -> Iterator[Trial]:
    """List one trial for each file of properties."""
    for fault, path in FAULTS.items():
        yield _trial(fault, path)


def _trial(fault: str, path: str) -> Trial:
    def run(folder: Path) -> Cell:
        command = [
            sys.executable,
            "-m",
            "pytest",
            path,
            "-q",
            "-n0",
            "-p",
            "no:cacheprovider",
            f"--basetemp={folder / 'tests'}",
        ]
        command += ["--hypothesis-show-statistics", f"--timeout={TIMEOUT_S}"]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "faults"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
        cases = sum(map(int, _CASES.findall(done.stdout)))
        held = done.returncode == 0
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR tests"))]
        note = f"{cases:,} cases" if cases else done.stdout.strip().rpartition("\n")[2]
        lost = 0 if held else len(failed) or 1
        return trial.fill(unharmed=held, lost=lost, twice=lost, note="; ".join([note, *failed])[:2000])

    trial = Trial(
        part=PART, fault=fault, moment="any", tracker="none" if "any value" in fault else "several", fast=False, run=run
    )
    return trial
