"""Trainings with transformers' own Trainer and its own MLflow callback, each in a fork of this process, which has imported both.

Reads paths of plans from standard input, and answers each with a line of JSON: the exit code of the training and how long it took. The fault is done within
a function of MLflow's SDK that the callback calls, as a bug of the SDK would be.
"""

import atexit
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import torch
import transformers
from runcast_faulty import FAULTS, MIDDLE
from torch import nn

STEPS = 40
FAR_ENOUGH = 3  # so often a call is slow: each stops the training for five seconds
LIMIT_S = 60.0
WHERE = {"setup": "start_run", "first log": "log_metrics", "mid-run": "log_metrics", "finish": "end_run"}


class Net(nn.Module):
    """Two layers and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 2))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss."""
        logits = self.layers(x + 0.1 * torch.randn_like(x))
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class Recording(transformers.Trainer):
    """Writes down what it logs, before any tracker sees it."""

    folder: Path

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        """Write, then log, which adds the epoch."""
        with open(self.folder / "logged", "a") as file:
            file.write(json.dumps([self.state.global_step, sorted({*logs, "epoch"})]) + "\n")
        super().log(logs, *arguments, **named)


def do_harm(plan: dict[str, Any]) -> None:
    """Put a fault into the SDK."""
    fault, moment = FAULTS[plan["fault"]], plan["moment"]
    if moment == "interpreter exit":
        atexit.register(fault)
        return
    name = WHERE[moment]
    original: Callable[..., Any] = getattr(mlflow, name)
    calls = 0

    def broken(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        if moment != "mid-run" or named.get("step", 0) >= MIDDLE:
            calls += 1
            if (
                calls == 1
                or plan["fault"] in ("raises", "raises no Exception")
                or (plan["fault"] == "takes 5 s" and calls <= FAR_ENOUGH)
            ):
                fault()
        return original(*arguments, **named)

    setattr(mlflow, name, broken)


class Ending(transformers.TrainerCallback):
    """Ends the training in its middle, in the given way."""

    def __init__(self, how: str) -> None:
        self.how = how

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End it."""
        if state.global_step != MIDDLE:
            return
        if self.how == "raises":
            raise ValueError("it broke")
        if self.how == "interrupted":
            raise KeyboardInterrupt
        if self.how in ("SIGTERM", "SIGKILL"):
            os.kill(os.getpid(), getattr(signal, self.how))
        if self.how == "sys.exit(3)":
            sys.exit(3)
        if self.how == "os._exit(3)":
            os._exit(3)


def train(plan: dict[str, Any], folder: Path) -> None:
    """Train as planned."""
    transformers.set_seed(0)
    data = [{"x": torch.randn(16), "labels": torch.tensor(index % 2)} for index in range(8 * STEPS)]
    args = transformers.TrainingArguments(
        output_dir="out",
        num_train_epochs=1,
        per_device_train_batch_size=8,
        logging_steps=1,
        save_strategy="no",
        report_to=plan["report_to"],
        use_cpu=True,
        disable_tqdm=True,
    )
    Recording.folder = folder
    trainer = Recording(Net(), args, train_dataset=data)
    if "fault" in plan:
        do_harm(plan)
    if "ending" in plan:
        trainer.add_callback(Ending(plan["ending"]))
    trainer.train()
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters())
    digest = hashlib.sha256(weights).hexdigest()
    result = {
        "weights": digest,
        "steps": trainer.state.global_step,
        "random": float(torch.rand(())),
        "done": time.monotonic(),
    }
    (folder / "result.json").write_text(json.dumps(result))


def answer(child: int, began: float) -> dict[str, Any]:
    """Wait for a training, and end one that does not end."""
    while time.monotonic() - began < LIMIT_S:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return {
                "code": os.waitstatus_to_exitcode(status),
                "seconds": time.monotonic() - began,
                "left": time.monotonic(),
            }
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {"code": None, "seconds": time.monotonic() - began, "left": time.monotonic()}


def main() -> None:
    """Take plans; a fork trains, and leaves as any script does."""
    template = Path(tempfile.mkdtemp()) / "mlflow.db"  # making the tables takes seconds
    mlflow.MlflowClient(f"sqlite:///{template}").search_experiments()
    for line in sys.stdin:
        folder = Path(line.strip()).parent
        plan = json.loads((folder / "plan.json").read_text())
        began = time.monotonic()
        child = os.fork()
        if not child:
            os.chdir(folder)
            output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
            os.environ["FAULT_TRIAL"] = str(folder)
            shutil.copy(template, "mlflow.db")
            train(plan, folder)
            return
        print(json.dumps(answer(child, began)), flush=True)
    shutil.rmtree(template.parent)


if __name__ == "__main__":
    main()
