"""The demo: a small convolutional network learns to read handwritten digits, and every tracker gets to see it."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.reporting import ReportCallback
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.run.init import init
from runcast.run.run import Run
from runcast.trainer.evaluation import EvalPrediction
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer
from runcast.values.media.kinds import Image, Table

SHOWN = 4
NOTES = "A small convolutional network on the 1,797 digits of scikit-learn."


def train_demo(
    report_to: Any = "all", dir: str | os.PathLike[str] = "runs", epochs: int = 20, progress: bool = True
) -> Run:
    """Train on scikit-learn's 1,797 digits of 8 x 8 pixels, test on a fifth of them, and return the finished run.

    Raises:
        OptionError: scikit-learn is not installed, or `report_to` is wrong.
    """
    train, test = load_digits()
    with (
        one_thread(),
        init("runcast-demo", report_to=report_to, dir=dir, tags=("demo", "digits"), notes=NOTES) as run,
        tempfile.TemporaryDirectory() as out,
    ):
        args = TrainingArguments(
            output_dir=out,
            num_train_epochs=epochs,
            per_device_train_batch_size=64,
            per_device_eval_batch_size=256,
            learning_rate=3e-3,
            weight_decay=0.01,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            logging_steps=5,
            eval_strategy="epoch",
            save_strategy="no",
        )
        callbacks = [
            ReportCallback(run=run),
            DigitsCallback(run, test),
            ProgressCallback(Console(stderr=True, quiet=not progress)),
        ]
        trainer = Trainer(
            make_network(), args, train_dataset=train, eval_dataset=test, compute_metrics=accuracy, callbacks=callbacks
        )
        trainer.train()
        result = trainer.predict(test)
        run.log(
            {"test/confusion": confusion_table(result.predictions.argmax(1), result.label_ids)},
            step=trainer.state.global_step,
        )
        run.log_summary({"test/accuracy": result.metrics["test_accuracy"], "test/loss": result.metrics["test_loss"]})
        run.log_artifact(
            trainer.save_model(Path(out) / "model") / "model.safetensors", name="digits-cnn.safetensors", type="model"
        )
    return run


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread.

    So small a network gains nothing from more, and they wait for each other where the deliveries keep the cores busy.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load_digits() -> tuple[torch.utils.data.Dataset[Any], torch.utils.data.Dataset[Any]]:
    """Load the digits, split into training and test."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise OptionError(
            "The demo needs scikit-learn for its data. Install it with: pip install 'runcast[demo]'"
        ) from error
    digits = datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = order.split([len(images) * 4 // 5, len(images) - len(images) * 4 // 5])
    train, test = (torch.utils.data.TensorDataset(images[part], labels[part]) for part in parts)
    return train, test


def make_network() -> nn.Module:
    """Make the network: two convolutions and a linear layer, 21,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(64 * 4, 10),
    )


def accuracy(result: EvalPrediction) -> dict[str, float]:
    """Compute the share of right answers."""
    return {"accuracy": float((result.predictions.argmax(1) == result.label_ids).mean())}


def confusion_table(predicted: Any, wanted: Any) -> Table:
    """Count for each digit what it was read as."""
    rows = [
        [digit, *(int(((predicted == read) & (wanted == digit)).sum()) for read in range(10))] for digit in range(10)
    ]
    return Table(columns=["digit", *map(str, range(10))], rows=rows)


class DigitsCallback(TrainerCallback):
    """A callback that logs a few digits of the test set with the network's predictions."""

    reports = True

    def __init__(self, run: Run, test: Any) -> None:
        self._run = run
        self._images, self._labels = test[:SHOWN]

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Look at the same digits after each epoch."""
        device = next(model.parameters()).device
        training = model.training
        with torch.no_grad():
            read = model.eval()(self._images.to(device)).argmax(1).tolist()
        model.train(training)
        for index, (image, label) in enumerate(zip(self._images, self._labels.tolist(), strict=True)):
            large = image[0].repeat_interleave(8, 0).repeat_interleave(8, 1)
            picture = Image((large * 255).byte().numpy(), caption=f"a {label}, read as {read[index]}")
            self._run.log({f"test/digit_{index}": picture}, step=state.global_step)
