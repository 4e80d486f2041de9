"""Lightning, cast to every tracker: a small network on real digits, with checkpoints, validation and test.

The one line that is not Lightning's own is the logger.

Run it with: python examples/lightning_module.py
"""

import argparse

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from runcast.adapters.lightning import RuncastLogger


class Classifier(lightning.LightningModule):
    """Two linear layers."""

    def __init__(self, width: int = 64, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.layers(images), labels)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Log loss and accuracy of the validation set."""
        self._evaluate(batch, "val")

    def test_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Log loss and accuracy of the test set."""
        self._evaluate(batch, "test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Choose Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["learning_rate"])

    def _evaluate(self, batch: list[torch.Tensor], split: str) -> None:
        images, labels = batch
        logits = self.layers(images)
        loss, hits = nn.functional.cross_entropy(logits, labels), logits.argmax(1) == labels
        self.log_dict({f"{split}/loss": loss, f"{split}/accuracy": hits.float().mean()})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report_to", default="all", help='"all", "none", or trackers: wandb,mlflow')
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    train, validation, test = (
        DataLoader(TensorDataset(images[part], labels[part]), batch_size=64)
        for part in (slice(720, None), slice(360, 720), slice(360))
    )
    trainer = lightning.Trainer(
        logger=RuncastLogger(report_to=options.report_to, log_model=True),
        callbacks=[ModelCheckpoint(monitor="val/loss", save_last=True), LearningRateMonitor()],
        max_epochs=options.epochs,
        accumulate_grad_batches=2,
        log_every_n_steps=2,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), train, validation)
    (result,) = trainer.test(dataloaders=test, ckpt_path="best", verbose=False)
    print(f"accuracy: {result['test/accuracy']:.2f}")


if __name__ == "__main__":
    main()
