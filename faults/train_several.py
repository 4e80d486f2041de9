"""Several trainings of one process, in a row or at once: `python train_several.py PLAN` (see `train.py`)."""

import hashlib
import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

STEPS = 40


class Training:
    """A net with random numbers of its own, because trainings in threads share the generators of the process."""

    def __init__(self, seed: int) -> None:
        self.random, self.generator = random.Random(seed), torch.Generator().manual_seed(seed)
        self.layer = nn.Linear(16, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(2, 16, generator=self.generator))
            self.layer.bias.zero_()
        self.points: list[tuple[str, float, int]] = []

    def step(self, number: int) -> dict[str, float]:
        """Change the weights; return what there is to log."""
        data = torch.randn(8, 16, generator=self.generator) + self.random.random()
        loss = self.layer(data).square().mean()
        (gradient,) = torch.autograd.grad(loss, self.layer.weight)
        with torch.no_grad():
            self.layer.weight -= 0.01 * gradient
        self.points.append(("loss", float(loss), number))
        return {"loss": float(loss)}


def train(number: int, plan: dict[str, Any], results: dict[str, Any]) -> None:
    """Train once, in a run of its own."""
    import runcast

    training = Training(number)
    with runcast.init(config={"seed": number}, id=f"run-{number}", **plan["init"]) as run:
        for step in range(STEPS):
            run.log(training.step(step), step=step)
    results[run.id] = {
        "weights": hashlib.sha256(training.layer.weight.detach().numpy().tobytes()).hexdigest(),
        "points": training.points,
    }


def main() -> None:
    """Train as planned."""
    plan_file = Path(sys.argv[1])
    plan = json.loads(plan_file.read_text())
    results: dict[str, Any] = {}
    threads = [threading.Thread(target=train, args=(number, plan, results)) for number in range(plan["count"])]
    for thread in threads:
        thread.start()
        if not plan["at_once"]:
            thread.join()
    for thread in threads:
        thread.join()
    plan_file.with_name("result.json").write_text(json.dumps({"runs": results, "done": time.monotonic()}))


if __name__ == "__main__":
    main()
