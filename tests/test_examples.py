"""The examples run with the command that their first lines give, made short."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.adapters.kit import EXAMPLES, QUIET, ROOT
from tests.warm import ACCELERATE, IGNITE, KERAS, LIGHTNING, TORCH, TRANSFORMERS, Warm

# For each example: what its process has already imported, what makes it short, and what it prints at its end.
SHORT: dict[str, tuple[Warm | None, str, str]] = {
    "accelerate_loop.py": (ACCELERATE, "--report_to none --epochs 1", "accuracy: 0."),
    "ignite_engine.py": (IGNITE, "--report_to none --epochs 1", "'eval/accuracy': 0."),
    "image_classifier.py": (TORCH, "--report_to none --num_train_epochs 1", "'eval_accuracy': 0."),
    "keras_classifier.py": (KERAS, "--report_to none --epochs 1", "'eval/accuracy': 0."),
    "language_model.py": (TRANSFORMERS, "--report_to none --max_steps 4", "'eval_loss': "),
    "lightning_module.py": (LIGHTNING, "--report_to none --epochs 1", "accuracy: 0."),
    "loop_by_hand.py": (TORCH, "--report_to none --epochs 1", "'eval/accuracy': 0."),
    "resume_after_kill.py": (TORCH, "", "the same weights"),
    "scripts/causal_language_model.py": (TRANSFORMERS, "--report_to none --max_steps 4", "eval_loss"),
    "scripts/sequence_to_sequence.py": (TRANSFORMERS, "--report_to none --max_steps 4", "eval_loss"),
    "scripts/text_classification.py": (TRANSFORMERS, "--report_to none --max_steps 4", "predictions: "),
    "third_party_tracker/runcast_sqlite.py": (None, "--only declaration,values", "2 passed"),
    "transformers_trainer.py": (TRANSFORMERS, "--report_to none --epochs 1", "accuracy: 0."),
    "two_processes.py": (None, "--report_to none --num_train_epochs 1", "'eval_loss': 0."),
    "ultralytics_yolo.py": (None, "--report_to none --epochs 1", "'eval/mAP50': 0."),
}
NAMES = sorted(str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py"))
# Those that other tests run with trackers: adapters/test_everywhere.py, adapters/test_ultralytics.py and
# trainer/test_both_trainers.py.
ELSEWHERE = ("accelerate_loop.py", "lightning_module.py", "transformers_trainer.py", "ultralytics_yolo.py", "scripts/")


def command_of(name: str) -> list[str]:
    """Return the command that an example's docstring gives; the one for a clone of the repository, if it gives two."""
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))) or ""
    commands = re.findall(r"^(?:Run .* with: | {4})((?:PYTHONPATH=\S+ )?\S*python .+)", text, re.MULTILINE)
    return shlex.split(commands[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.matrix] * name.startswith(ELSEWHERE)) for name in NAMES]
)
def test_an_example_runs(tmp_path: Path, name: str) -> None:
    """As it says, to its end, with the result that it promises."""
    modules, shorter, expected = SHORT[name]
    for linked in ("LICENSE", "examples", "tests"):
        (tmp_path / linked).symlink_to(ROOT / linked)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT), "YOLO_CONFIG_DIR": str(tmp_path)}
    environment |= {"YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"}
    command = [*command_of(name), *shlex.split(shorter)]
    while "=" in command[0]:
        variable, _, value = command.pop(0).partition("=")
        environment[variable] = f"{value}{os.pathsep}{environment.get(variable, '')}"

    if modules is None:
        command[0] = sys.executable
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    else:
        script = [tmp_path / command[1], *command[2:]]
        done = warm.run(modules, script, folder=tmp_path, environment=environment)

    assert done.returncode == 0, done.stderr[-3000:]
    assert expected in done.stdout + done.stderr
