"""A `transformers.Trainer` that trains in milliseconds."""

import torch
import transformers
from torch import nn

transformers.logging.set_verbosity_error()


class TinyConfig(transformers.PretrainedConfig):
    """Says how wide the network is."""

    model_type = "tiny"

    def __init__(self, width=2, **kwargs):
        self.width = width
        super().__init__(**kwargs)


class TinyModel(transformers.PreTrainedModel):
    """One linear layer, which computes its own loss; fails at a chosen step."""

    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        torch.manual_seed(0)
        self.linear = nn.Linear(4, config.width)
        self.error = None
        self.post_init()

    def forward(self, x, labels=None):
        if self.error is not None and self.training:
            raise self.error
        logits = self.linear(x)
        return {"loss": None if labels is None else nn.functional.cross_entropy(logits, labels), "logits": logits}


class Fail(transformers.TrainerCallback):
    """Lets the forward pass of a step raise."""

    def __init__(self, error, step=2):
        self.error, self.step = error, step

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        model.error = self.error if state.global_step == self.step else None


def examples(count):
    """Make random vectors with a label."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 4, generator=generator)
    return [{"x": row, "labels": int(row.sum() > 0)} for row in x]


def make_trainer(callbacks, *, kind=transformers.Trainer, folder="out", **settings):
    """Make a trainer of 20 examples: two epochs of three steps, each step of two batches of four."""
    settings = {
        "output_dir": str(folder),
        "report_to": "none",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "logging_steps": 2,
        "learning_rate": 0.01,
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    } | settings
    trainer = kind(
        TinyModel(TinyConfig()),
        transformers.TrainingArguments(**settings),
        train_dataset=examples(20),
        eval_dataset=examples(8),
        callbacks=callbacks,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer
