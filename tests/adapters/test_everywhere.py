"""Each framework's example reaches every tracker: every point, exactly once, with the right status."""

from pathlib import Path

import pytest

from tests.adapters.kit import EXAMPLES, TRACKERS, Told, assert_everywhere_once, only_run_in, run_well
from tests.warm import ACCELERATE, LIGHTNING, TRANSFORMERS, Warm

# For each example: arguments that make it short, steps of some of its metrics, its artifacts, the trackers that share
# the work of the quick test (each of the six comes up, and `make matrix` combines them all), and what it imports.
SHORT = {
    "transformers_trainer.py": (
        ["--epochs", "1"],
        {"train/loss": [4, 8, 12, 16, 20], "eval/accuracy": [23, 23], "train/epoch": [4, 8, 12, 16, 20, 23]},
        ["model-best", "model-last"],
        ("mlflow", "wandb", "dvclive"),
        TRANSFORMERS,
    ),
    "lightning_module.py": (
        ["--epochs", "2"],
        {"train/loss": [1, 3, 5, 7, 9, 11, 13, 15, 17], "val/accuracy": [8, 17], "test/accuracy": [18]},
        ["model-best", "model-last"],
        ("tensorboard", "comet_ml", "clearml"),
        LIGHTNING,
    ),
    "accelerate_loop.py": (
        ["--epochs", "1"],
        {"train/loss": list(range(1, 13)), "test/accuracy": [12]},
        [],
        TRACKERS,
        ACCELERATE,
    ),
}


def run_example(name: str, folder: Path, trackers: tuple[str, ...], modules: Warm | None = None) -> Told:
    """Run an example with some trackers; return what its one run was told."""
    printed = run_well(EXAMPLES / name, folder, "--report_to", ",".join(trackers), *SHORT[name][0], modules=modules)
    assert "accuracy: 0." in printed
    return only_run_in(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_an_example_reaches_its_trackers(folder, name):
    """One command: names and steps are those of the framework, and each tracker has all of it."""
    _, steps, artifacts, trackers, modules = SHORT[name]

    told = run_example(name, folder, trackers, modules)

    assert {key: told.steps(key) for key in steps} == steps
    assert sorted({name for name, _ in told.artifacts}) == artifacts
    assert set(told.endings) == {"finished"}
    assert_everywhere_once(told, trackers)


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trackers", [TRACKERS, *((name,) for name in TRACKERS)], ids=",".join)
@pytest.mark.parametrize("name", SHORT)
def test_an_example_reaches_each_tracker(folder, name, trackers):
    """The same with each tracker alone, and with all at once."""
    assert_everywhere_once(run_example(name, folder, trackers), trackers)
