"""The examples run as their first lines say, with fewer steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "name", "arguments", "expected"),
    [
        ([], "image_classifier.py", ["--num_train_epochs", "1", "--report_to", "none"], "'eval_accuracy': 0."),
        ([], "language_model.py", ["--max_steps", "4", "--report_to", "none"], "'eval_loss': "),
        (TORCHRUN, "two_processes.py", ["--report_to", "none", "--num_train_epochs", "1"], "'eval_loss': 0."),
        ([], "resume_after_kill.py", [], "the same weights"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith(".py") else "",
)
def test_an_example_runs(tmp_path, launcher, name, arguments, expected):
    """In an empty folder, to its end, with the result that it promises."""
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "OMP_NUM_THREADS": "1"}
    script = [str(EXAMPLES / name), *arguments]

    if launcher:
        command = [sys.executable, *launcher, *script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170)
    else:
        done = warm.run(warm.TORCH, script, folder=tmp_path, environment=environment, timeout_s=170)

    assert done.returncode == 0, done.stderr[-3000:]
    assert expected in done.stdout
