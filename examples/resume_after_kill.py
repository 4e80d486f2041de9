"""A training that is killed and restarted ends with the same weights as an uninterrupted one.

Run it with: python examples/resume_after_kill.py
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

from runcast import Trainer, TrainingArguments


def train(folder: str, kill_at: int) -> None:
    """Train with a checkpoint every 10 steps; die at a step, as if the power had failed."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(400, 16), torch.randint(0, 2, (400,)))
    args = TrainingArguments(
        output_dir=folder,
        num_train_epochs=3,
        save_steps=10,
        logging_steps=10,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.1), nn.Linear(32, 2)), args, train_dataset=data)
    if kill_at:
        trainer.add_callback("on_step_end", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL), once=kill_at)
    trainer.train(resume_from_checkpoint="last")
    torch.save(trainer.model.state_dict(), f"{folder}/final.pt")


def main() -> bool:
    with tempfile.TemporaryDirectory() as root:
        for folder, kills in (("whole", [0]), ("killed", [47, 93, 0])):
            for kill_at in kills:
                command = [sys.executable, __file__, f"{root}/{folder}", str(kill_at)]
                done = subprocess.run(command, stdout=subprocess.DEVNULL)
                steps = sorted(int(path.name.split("-")[1]) for path in Path(root, folder).glob("checkpoint-*"))
                print(f"{folder}: ended with {done.returncode}; the last checkpoint is of step {steps[-1]}")
        whole, killed = (torch.load(f"{root}/{folder}/final.pt", weights_only=True) for folder in ("whole", "killed"))
        return all(torch.equal(whole[name], killed[name]) for name in whole)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        train(sys.argv[1], int(sys.argv[2]))
    else:
        print("the same weights" if main() else "DIFFERENT weights")
