"""A loop of one's own needs nothing but `runcast.init`, and nothing is done to it behind its back."""

import pytest

from tests.adapters.kit import EXAMPLES, assert_everywhere_once, only_run_in, run_well
from tests.warm import TORCH

WATCHED = """
import sys

import torch

watched = {f"{module.__name__}.{name}": value for module in (torch, torch.nn.Module, torch.Tensor, torch.optim.Adam, torch.utils.data.DataLoader) for name, value in vars(module).items()}
import runcast

with runcast.init(report_to="tensorboard") as run:
    run.log({"train/loss": torch.tensor(1.0)}, step=1)
after = {f"{module.__name__}.{name}": value for module in (torch, torch.nn.Module, torch.Tensor, torch.optim.Adam, torch.utils.data.DataLoader) for name, value in vars(module).items()}
print(sorted(name for name in watched if after.get(name) is not watched[name]), "tensorboard" in sys.modules)
"""


@pytest.mark.slow
def test_the_example_runs(tmp_path):
    """As its first lines say, with what it promises, once in the tracker."""
    printed = run_well(
        EXAMPLES / "loop_by_hand.py", tmp_path, "--epochs", "2", "--report_to", "tensorboard", modules=TORCH
    )

    told = only_run_in(tmp_path)
    assert "'eval/accuracy': 0." in printed
    assert told.steps("train/loss") == list(range(1, 45))
    assert told.steps("eval/accuracy") == [22, 44]
    assert told.artifacts == [("model-last", "model")]
    assert_everywhere_once(told, ["tensorboard"])


def test_nothing_is_patched(tmp_path):
    """Of PyTorch everything is as it was, and no tracker is in the training process."""
    assert run_well(WATCHED, tmp_path, modules=TORCH).splitlines()[-1] == "[] False"
