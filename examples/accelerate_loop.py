"""A loop with Accelerate, cast to every tracker: a small network on real digits, with accumulation and checkpoints.

Run it with: python examples/accelerate_loop.py
or with several processes: accelerate launch --num_processes 2 examples/accelerate_loop.py
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from runcast.adapters.accelerate import RuncastTracker


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--report_to", default="all", help='"all", "none", or trackers: wandb,mlflow')
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()

    accelerator = Accelerator(
        log_with=RuncastTracker(report_to=options.report_to),
        gradient_accumulation_steps=2,
        project_config=ProjectConfiguration("out/accelerate", automatic_checkpoint_naming=True, total_limit=2),
        cpu=not torch.cuda.is_available(),
    )
    config = {"learning_rate": 3e-3, "width": 64, "epochs": options.epochs}
    accelerator.init_trackers("digits", config=config)

    digits = load_digits()
    images, labels = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    model = nn.Sequential(nn.Linear(64, config["width"]), nn.ReLU(), nn.Linear(config["width"], 10))
    model, optimizer, train, test = accelerator.prepare(
        model,
        torch.optim.Adam(model.parameters(), lr=config["learning_rate"]),
        DataLoader(TensorDataset(images[360:], labels[360:]), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(images[:360], labels[:360]), batch_size=64),
    )
    step = 0
    for _ in range(options.epochs):
        model.train()
        for batch, targets in train:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(batch), targets)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                step += 1
                accelerator.log({"train/loss": loss.detach()}, step=step)  # a tensor: nothing waits for the device
        model.eval()
        hits = [accelerator.gather_for_metrics((model(b).argmax(1) == t).float()) for b, t in test]
        accuracy = torch.cat(hits).mean()
        accelerator.log({"test/accuracy": accuracy}, step=step)
        accelerator.save_state()
    accelerator.print(f"accuracy: {accuracy:.2f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
