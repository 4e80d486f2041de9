"""A `lightning.Trainer` that trains in milliseconds."""

import logging

import lightning
import torch
from torch.utils.data import DataLoader

for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)


class Tiny(lightning.LightningModule):
    """One linear layer that fails at a chosen step."""

    def __init__(self, error=None, step=2, learning_rate=0.1):
        super().__init__()
        self.save_hyperparameters(ignore=["error"])
        self.layer = torch.nn.Linear(4, 1)
        self.error = error

    def training_step(self, batch, index):
        if self.error is not None and self.global_step == self.hparams["step"]:
            raise self.error
        loss = self.layer(batch).mean() ** 2
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", self.layer(batch).mean() ** 2)

    def test_step(self, batch, index):
        self.log("test_loss", self.layer(batch).mean() ** 2)

    def predict_step(self, batch, index):
        return self.layer(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams["learning_rate"])


def loader():
    """Make six batches of four."""
    return DataLoader(torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), batch_size=4)


def make_trainer(logger, **settings):
    """Make a quiet trainer of two epochs of six steps."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"max_epochs": 2, "log_every_n_steps": 2, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return lightning.Trainer(logger=logger, **quiet | defaults | settings)
