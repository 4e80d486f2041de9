"""Real data and a small network for the tests of the trainer."""

import pytest
import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.progress import ProgressCallback
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer


class Digits(torch.utils.data.Dataset):
    """The first digits of scikit-learn as dicts.

    Remembers what was read, and adds noise so that random numbers matter.
    """

    def __init__(self, count=96, noise=0.0):
        from sklearn.datasets import load_digits

        data = load_digits()
        self.images = torch.tensor(data.data[:count], dtype=torch.float32) / 16
        self.labels = torch.tensor(data.target[:count])
        self.noise = noise
        self.read = []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index)
        image = self.images[index]
        return {"image": image + self.noise * torch.randn(64) if self.noise else image, "labels": self.labels[index]}


class Net(nn.Module):
    """Two linear layers and a dropout."""

    def __init__(self, width=16):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, 10))

    def forward(self, image):
        return self.layers(image)


def same_weights(one, other):
    """Tell whether two modules have the very same weights."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a quiet Trainer on the CPU: `make(callbacks=[...], max_steps=3)`."""
    parts = (
        "model",
        "train_dataset",
        "eval_dataset",
        "callbacks",
        "compute_loss",
        "compute_metrics",
        "optimizers",
        "data_collator",
        "processing_class",
    )

    def make(**given):
        own = {name: given.pop(name) for name in parts if name in given}
        settings = {
            "report_to": "none",
            "use_cpu": True,
            "save_strategy": "no",
            "output_dir": str(tmp_path / "out"),
            "learning_rate": 1e-2,
        } | given
        own["callbacks"] = [*own.get("callbacks", []), ProgressCallback(Console(quiet=True))]
        own = {"model": Net(), "train_dataset": Digits(), "eval_dataset": Digits(32)} | own
        return Trainer(args=TrainingArguments(**settings), **own)

    make.Digits, make.Net, make.same_weights = Digits, Net, same_weights
    return make
