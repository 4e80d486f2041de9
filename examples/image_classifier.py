"""An image classifier on real pictures.

It shows a hand-written module, accuracy, early stopping and the best weights, on every tracker.

Run it with: python examples/image_classifier.py --num_train_epochs 10
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

from runcast import Trainer, TrainingArguments
from runcast.callbacks.stopping import EarlyStoppingCallback

SETTINGS = (
    "--per_device_train_batch_size 64 --learning_rate 3e-3 --lr_scheduler_type cosine "
    "--logging_steps 10 --eval_strategy epoch"
)
BEST = (
    "--save_strategy best --metric_for_best_model accuracy --load_best_model_at_end "
    "--save_total_limit 2 --output_dir out/digits"
)


class Classifier(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)
        )
        self.head = nn.Linear(256, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return ten logits for each image."""
        return self.head(self.features(image).flatten(1))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    import sys

    digits = load_digits()
    examples = [
        {"image": torch.tensor(image, dtype=torch.float32).unsqueeze(0) / 16, "label": int(label)}
        for image, label in zip(digits.images, digits.target, strict=True)
    ]
    args = TrainingArguments.from_command_line(
        [*SETTINGS.split(), *BEST.split(), *(sys.argv[1:] if arguments is None else arguments)]
    )
    trainer = Trainer(
        Classifier(),
        args,
        train_dataset=examples[360:],
        eval_dataset=examples[:360],
        compute_metrics=lambda result: {"accuracy": (result.predictions.argmax(1) == result.label_ids).mean()},
        callbacks=[EarlyStoppingCallback(early_stopping_patience=3)],
    )
    trainer.train()
    return trainer.evaluate()


if __name__ == "__main__":
    print({name: round(value, 4) for name, value in main().items()})
