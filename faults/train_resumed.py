"""A training with the reference trainer that may be killed, and resumed from an older checkpoint: `python train_resumed.py PLAN`."""

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from runcast import Trainer, TrainingArguments
from runcast.callbacks.reporting import ReportCallback


def main() -> None:
    """Train as planned: `lr`, `kill_at` a step, `resume_from` a checkpoint."""
    plan_file = Path(sys.argv[1])
    plan = json.loads(plan_file.read_text())
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(320, 16), torch.randint(0, 2, (320,)))
    args = TrainingArguments(
        output_dir="out",
        num_train_epochs=1,
        save_steps=10,
        logging_steps=1,
        learning_rate=plan["lr"],
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    net = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.1), nn.Linear(32, 2))
    report = ReportCallback(plan["init"]["report_to"], dir="runs")
    trainer = Trainer(net, args, train_dataset=data, callbacks=[report])
    if plan.get("kill_at"):
        trainer.add_callback("on_step_end", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL), once=plan["kill_at"])
    trainer.train(resume_from_checkpoint=plan.get("resume_from"))
    weights = b"".join(parameter.detach().numpy().tobytes() for parameter in net.parameters())
    result = {
        "weights": hashlib.sha256(weights).hexdigest(),
        "steps": trainer.state.global_step,
        "done": time.monotonic(),
    }
    plan_file.with_name("result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
