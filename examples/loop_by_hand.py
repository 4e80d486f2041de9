"""A hand-written training loop in plain PyTorch.

It has gradient accumulation, an evaluation each epoch, a picture, and a checkpoint with the run's id: one run on every
tracker, with nothing patched.

Run it with: python examples/loop_by_hand.py --epochs 10
"""

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import runcast


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--report_to", default="all")
    settings = parser.parse_args()
    torch.manual_seed(0)
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target))
    test, train = Subset(data, range(360)), Subset(data, range(360, len(data)))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr)
    loss_of = nn.CrossEntropyLoss()

    with runcast.init(project="digits", config=settings, report_to=settings.report_to) as run:
        step = 0
        for epoch in range(settings.epochs):
            for batch, (pictures, labels) in enumerate(DataLoader(train, 32, shuffle=True, drop_last=True), start=1):
                loss = loss_of(model(pictures), labels) / settings.accumulation
                loss.backward()
                if batch % settings.accumulation == 0:
                    optimizer.step()
                    optimizer.zero_grad()
                    step += 1
                    run.log({"train/loss": loss.detach() * settings.accumulation, "train/epoch": epoch}, step=step)
            pictures, labels = next(iter(DataLoader(test, 360)))
            with torch.no_grad():
                hits = model(pictures).argmax(1) == labels
            accuracy = hits.float().mean()
            missed = pictures[~hits][0].reshape(8, 8) if not hits.all() else pictures[0].reshape(8, 8)
            run.log({"eval/accuracy": accuracy, "eval/missed": runcast.Image(missed)}, step=step)
        checkpoint = Path("out/digits.pt")
        checkpoint.parent.mkdir(exist_ok=True)
        torch.save({"model": model.state_dict(), "step": step, "run_id": run.id}, checkpoint)
        run.log_artifact(checkpoint, name="model-last", type="model")
    print({"eval/accuracy": round(float(accuracy), 4)})


if __name__ == "__main__":
    main()
