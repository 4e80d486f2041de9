"""A small real training: `python train.py PLAN`, PLAN being a file of JSON.

The plan says what `runcast.init` is given (`init`), how the training ends (`ending`), for which file it waits in its middle (`wait_for`), and the like.
Beside the plan it leaves `acknowledged`, the steps for which `log` has returned, and `result.json`: the hash of the final weights, the steps, the points
that it logged, what it noticed of its process, and when its work was done.
"""

import hashlib
import json
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

STEPS, MIDDLE = 40, 30
WAIT_S = 30.0
TRACKERS = {"runcast_faulty", "runcast.testing.memory", "tensorboard", "mlflow", "wandb"}


def fingerprint() -> dict[str, Any]:
    """Describe what a tracker must not change in this process, and what it must not add to it."""
    signals = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
    root = logging.getLogger()
    return {
        "environment": sorted(map(list, os.environ.items())),
        "directory": os.getcwd(),
        "path": list(sys.path),
        "signals": [str(signal.getsignal(number)) for number in signals],
        "hooks": [str(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "logging": [root.level, [str(handler) for handler in root.handlers]],
        "dtype": str(torch.get_default_dtype()),
        "torch threads": torch.get_num_threads(),
        "threads": threading.active_count(),
        "kernel threads": len(os.listdir("/proc/self/task")),
        "trackers": sorted(TRACKERS & set(sys.modules)),
        "umask": _umask(),
    }


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class Training:
    """A net, data with noise from every generator, and an optimizer."""

    def __init__(self) -> None:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))
        self.data, self.labels = torch.randn(64, 16), torch.randint(0, 2, (64,))
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.steps = 0
        self.points: list[tuple[str, float, int]] = []

    def step(self, more: torch.Tensor | None = None) -> dict[str, float]:
        """Change the weights; return what there is to log."""
        noise = random.random() + float(np.random.rand())
        batch = torch.randint(0, 64, (8,))
        output = self.net(self.data[batch] + 0.1 * noise * torch.randn(8, 16) + (0 if more is None else more))
        loss = nn.functional.cross_entropy(output, self.labels[batch])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        values = {"loss": float(loss), "noise": noise}
        self.points += [(key, value, self.steps) for key, value in values.items()]
        return values

    def weights(self) -> str:
        """Hash the weights."""
        data = b"".join(parameter.detach().numpy().tobytes() for parameter in self.net.parameters())
        return hashlib.sha256(data).hexdigest()


class Noise(torch.utils.data.Dataset):
    """Data that worker processes read."""

    def __len__(self) -> int:
        return 8 * STEPS

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.sin(torch.arange(16) * float(index))


def wait_for(path: str | None) -> None:
    """Wait until a file is there, as long as is reasonable."""
    deadline = time.monotonic() + WAIT_S
    while path and not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.01)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON atomically."""
    path.with_suffix(".part").write_text(json.dumps(content))
    path.with_suffix(".part").replace(path)


def end(how: str) -> None:
    """End the training in the given way."""
    if how == "raises":
        raise ValueError("it broke")
    if how == "interrupted":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)  # the interrupt arrives here
    elif how in ("SIGTERM", "SIGKILL"):
        os.kill(os.getpid(), getattr(signal, how))
    elif how == "sys.exit(3)":
        sys.exit(3)
    elif how == "sys.exit(0)":
        sys.exit(0)
    elif how == "os._exit(3)":
        os._exit(3)


def train(run: Any, training: Training, plan: dict[str, Any], folder: Path) -> None:
    """Do the steps."""
    notes, acknowledged = folder / "notes.txt", os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    notes.write_text("some notes")
    batches = None
    if plan.get("workers"):
        loader = torch.utils.data.DataLoader(Noise(), 8, num_workers=2, multiprocessing_context=plan["workers"])
        batches = iter(loader)
    for _ in range(plan.get("steps", STEPS)):
        run.log(training.step(None if batches is None else next(batches)), step=training.steps)
        os.write(acknowledged, b"%d\n" % training.steps)
        if training.steps == MIDDLE:
            run.log_artifact(notes)
            wait_for(plan.get("wait_for"))
        time.sleep(plan.get("pause_s", 0))
    os.close(acknowledged)


def log_from_threads(run: Any, training: Training) -> None:
    """Log from four threads at once."""

    def log(number: int) -> None:
        for step in range(100):
            run.log({f"thread{number}": step / 7}, step=step)

    threads = [threading.Thread(target=log, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    training.points += [(f"thread{number}", step / 7, step) for number in range(4) for step in range(100)]


def main() -> None:
    """Train as planned."""
    plan_file = Path(sys.argv[1])
    plan, folder = json.loads(plan_file.read_text()), plan_file.parent
    training = Training()
    training.net(training.data)  # whatever torch starts, it starts now
    torch.manual_seed(0)

    import runcast

    before = fingerprint()

    def work(run: Any) -> None:
        if "began" in plan:
            Path(plan["began"]).touch()
        train(run, training, plan, folder)
        if plan.get("log_threads"):
            log_from_threads(run, training)
        result.update(
            weights=training.weights(),
            steps=training.steps,
            points=training.points,
            random=[random.random(), float(np.random.rand()), float(torch.rand(()))],
            before=before,
            after=fingerprint(),
            run=str(run.dir.resolve()),
            done=time.monotonic(),
        )
        write(folder / "result.json", result)
        end(plan.get("ending", "ends"))

    result: dict[str, Any] = {}
    if plan.get("without_with"):
        work(runcast.init(**{"config": {"lr": 0.1}, **plan["init"]}))
        return
    with runcast.init(**{"config": {"lr": 0.1}, **plan["init"]}) as run:
        work(run)
    write(folder / "result.json", {**result, "end": fingerprint()})


if __name__ == "__main__":
    main()
