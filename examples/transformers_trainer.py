"""transformers.Trainer, cast to every tracker: a small network on real digits, the best weights kept.

The one line that is not transformers' own is the callback.

Run it with: python examples/transformers_trainer.py
"""

import argparse

import torch
import transformers
from sklearn.datasets import load_digits
from torch import nn

import runcast


class DigitsConfig(transformers.PretrainedConfig):
    """Says how wide the network is."""

    model_type = "digits"

    def __init__(self, width: int = 64, **kwargs: object) -> None:
        self.width = width
        super().__init__(**kwargs)


class Classifier(transformers.PreTrainedModel):
    """Two linear layers, which compute their own loss as the models of transformers do."""

    config_class = DigitsConfig

    def __init__(self, config: DigitsConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(nn.Linear(64, config.width), nn.ReLU(), nn.Linear(config.width, 10))
        self.post_init()

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss, and ten logits for each image."""
        logits = self.layers(image)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report_to", default="all", help='"all", "none", or trackers: wandb,mlflow')
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    digits = load_digits()
    examples = [
        {"image": torch.tensor(image, dtype=torch.float32) / 16, "labels": int(label)}
        for image, label in zip(digits.data, digits.target, strict=True)
    ]
    args = transformers.TrainingArguments(
        output_dir="out/transformers",
        report_to="none",  # the trackers of transformers are off, runcast reports
        num_train_epochs=options.epochs,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=120,
        gradient_accumulation_steps=2,
        learning_rate=1e-2,
        logging_steps=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        Classifier(DigitsConfig()),
        args,
        train_dataset=examples[360:],
        eval_dataset=examples[:360],
        compute_metrics=lambda result: {"accuracy": (result.predictions.argmax(1) == result.label_ids).mean()},
        callbacks=[runcast.ReportCallback(report_to=options.report_to, log_model="end")],
    )
    trainer.train()
    print(f"accuracy: {trainer.evaluate()['eval_accuracy']:.2f}")


if __name__ == "__main__":
    main()
