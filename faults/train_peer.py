"""Trainings with transformers' own Trainer and its own callback for one tracker, each in a fork of this process, which has imported that tracker's SDK alone.

    python faults/train_peer.py NAME

Reads paths of plans from standard input, and answers each with a line of JSON. It trains, and tells the exit code and how long it took; or it reads what the
tracker has of an earlier training. The fault is done within a function of the SDK that the callback calls, as a bug of the SDK would be.
"""

import atexit
import functools
import hashlib
import importlib
import inspect
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from faults.peer_trackers import TABLE, Peer

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # some SDKs talk while they are imported
NAME = sys.argv[1]
PEER: Peer | None = TABLE.get(NAME)
if PEER is not None:
    importlib.import_module(PEER.imports)

import torch  # noqa: E402
import transformers  # noqa: E402
from runcast_faulty import FAULTS, MIDDLE  # noqa: E402
from torch import nn  # noqa: E402

STEPS = 40
FAR_ENOUGH = 3  # so often a call is slow: each stops the training for five seconds
LIMIT_S = 60.0


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
    pid: int  # of the training, and not of a copy that a fault has made
    at = 0  # the step of the last log

    def log(self, logs: dict[str, float], *arguments: Any, **named: Any) -> None:
        """Write, then log, which adds the epoch."""
        Recording.at = self.state.global_step
        if os.getpid() == self.pid:
            with open(self.folder / "logged", "a") as file:
                file.write(json.dumps([self.state.global_step, sorted({*logs, "epoch"})]) + "\n")
        super().log(logs, *arguments, **named)


def do_harm(plan: dict[str, Any], folder: Path) -> None:
    """Put a fault into the SDK."""
    name, moment = plan["fault"], plan["moment"]
    calls = 0

    def fault() -> None:
        (folder / "met").touch()
        FAULTS[name]()

    if moment == "interpreter exit":
        atexit.register(fault)
        return
    assert PEER is not None
    owner, attribute, original = find(PEER.places[moment])
    begins = {"mid-run": MIDDLE, "finish": STEPS}.get(moment, 0)

    @functools.wraps(original)
    def broken(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        if Recording.at >= begins:
            calls += 1
            if calls == 1 or name.startswith("raises") or (name == "takes 5 s" and calls <= FAR_ENOUGH):
                fault()
        return original(*arguments, **named)

    setattr(owner, attribute, staticmethod(broken) if inspect.ismethod(original) else broken)


def find(place: str) -> tuple[Any, str, Any]:
    """Find a function by module:path: what holds it, its name there, and itself."""
    module, _, path = place.partition(":")
    owner = importlib.import_module(module)
    *holders, attribute = path.split(".")
    for holder in holders:
        owner = getattr(owner, holder)
    return owner, attribute, getattr(owner, attribute)


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


class Stopping(transformers.TrainerCallback):
    """A callback that waits after some steps, until the trial lets it continue."""

    def __init__(self, stops: list[int], folder: Path) -> None:
        self.stops, self.folder = stops, folder

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Wait for a file."""
        if state.global_step in self.stops:
            (self.folder / f"at-{state.global_step}").touch()
            while not (self.folder / f"go-{state.global_step}").exists():
                time.sleep(0.02)


def train(plan: dict[str, Any], folder: Path) -> None:
    """Train as planned."""
    transformers.set_seed(0)
    data = [{"x": torch.randn(16), "labels": torch.tensor(index % 2)} for index in range(8 * STEPS)]
    if "fault" in plan:
        do_harm(plan, folder)
    args = transformers.TrainingArguments(
        output_dir="out",
        num_train_epochs=1,
        per_device_train_batch_size=8,
        logging_steps=1,
        save_strategy="no",
        report_to=NAME,
        use_cpu=True,
        disable_tqdm=True,
    )
    Recording.folder, Recording.pid = folder, os.getpid()
    trainer = Recording(Net(), args, train_dataset=data)
    if "ending" in plan:
        trainer.add_callback(Ending(plan["ending"]))
    if "stops" in plan:
        trainer.add_callback(Stopping(plan["stops"], folder))
    trainer.train()
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in trainer.model.parameters())
    digest = hashlib.sha256(weights).hexdigest()
    result = {
        "weights": digest,
        "steps": trainer.state.global_step,
        "random": float(torch.rand(())),
        "done": time.monotonic(),
    }
    if os.getpid() == Recording.pid:
        (folder / "result.json").write_text(json.dumps(result))


def read(folder: Path) -> None:
    """Read what the tracker has."""
    assert PEER is not None
    (folder / "found.json").write_text(json.dumps(PEER.read(folder)))


def answer(child: int, folder: Path) -> dict[str, Any]:
    """Wait for a child, and end one that does not end; a training that has waited for its trial has its time from then on."""
    began = time.time()
    released = began
    while time.time() - released < LIMIT_S:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.05)
        released = max(began, *(file.stat().st_mtime for file in folder.glob("go-*")), began)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        code = None
    return {"code": code, "seconds": time.time() - began, "left": time.monotonic(), "group": child}


def move_in(folder: Path) -> None:
    """Make a trial's folder the world of this process."""
    os.setpgid(0, 0)  # so that what it leaves can be found
    os.chdir(folder)
    sys.argv = [shutil.copy(__file__, f"{folder}/train.py")]  # ClearML scans the repository in which a script lies
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    (folder / "tmp").mkdir(exist_ok=True)
    tempfile.tempdir = None
    os.environ |= {"FAULT_TRIAL": str(folder), "TMPDIR": str(folder / "tmp")}
    if PEER is not None:
        os.environ |= {name: value.format(folder=folder) for name, value in PEER.environment.items()}


def main() -> None:
    """Take plans; a fork does what each says, and leaves as any script does."""
    template = Path(tempfile.mkdtemp())
    if PEER is not None:
        PEER.prepare(template)
    for line in sys.stdin:
        plan = json.loads(Path(line.strip()).read_text())
        folder = Path(line.strip()).parent
        child = os.fork()
        if not child:
            move_in(folder)
            os.environ |= plan.get("environment", {})
            if plan["do"] == "read":
                read(folder)
            else:
                shutil.copytree(template, folder, dirs_exist_ok=True)
                train(plan, folder)
            return
        answers.write(json.dumps(answer(child, folder)) + "\n")
        answers.flush()
    shutil.rmtree(template)


if __name__ == "__main__":
    main()
