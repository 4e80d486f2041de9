"""A small, deterministic training that the trials of `world.py` run in a process of its own.

    python faults/world_training.py OPTIONS

OPTIONS is JSON: `init` holds arguments of `runcast.init`, `first` and `steps` say which steps to train, `stops` before
which steps to say {"at": STEP} on stdout and to wait for a line on stdin, `steps_per_s` how fast at most, `burst` how
many more calls of `log` a step. The last two lines are {"end": true}, before `finish`, and {"done": FACTS}.
"""

import json
import os
import statistics
import sys
import threading
import time
from hashlib import sha256
from typing import Any

import torch

import runcast

TRACKERS = ("wandb", "mlflow", "comet_ml", "clearml", "dvclive", "codecarbon", "tensorboard", "tensorboardX")


def say(**fact: Any) -> None:
    """Tell the trial."""
    print(json.dumps(fact), flush=True)


def main(options: dict[str, Any]) -> None:
    """Train, log two numbers a step, and tell what became of the weights."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.Tanh(), torch.nn.Linear(256, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    threads = threading.active_count()
    first, pause_s = options.get("first", 0), 1 / options.get("steps_per_s", 1e9)
    losses, step_s, log_s = [], [], []
    run = runcast.init("faults", config={"lr": 0.01}, **options["init"])
    for step in range(first, first + options["steps"]):
        if step in options.get("stops", ()):
            say(at=step)
            sys.stdin.readline()
        began = time.perf_counter()
        loss = model(torch.randn(256, 64)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        computed = time.perf_counter()
        run.log({"train/loss": losses[-1], "train/index": step}, step=step)
        logged = time.perf_counter()
        for number in range(options.get("burst", 0)):
            run.log({"train/burst": number}, step=step)
        step_s.append(logged - began)
        log_s.append(logged - computed)
        time.sleep(max(0.0, pause_s - (time.perf_counter() - began)))
    threads = threading.active_count() - threads
    say(end=True)
    run.finish()
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    say(
        done={
            "weights": sha256(weights + torch.rand(8).numpy().tobytes()).hexdigest(),
            "losses": losses,
            "threads": threads,
            "imported": [name for name in TRACKERS if name in sys.modules],
            "bursts": options["steps"] * options.get("burst", 0),
            "log_us": statistics.median(log_s) * 1e6,
            "share": statistics.median(log_s) / statistics.median(step_s),
            "cwd": os.getcwd(),
        }
    )
    sys.exit(options.get("code", 0))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
