"""Two processes on the CPU train as one with twice the batch, under torchrun with gloo."""

import json
import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import json, os, sys
import torch
from torch import nn
from runcast.callbacks.reporting import ReportCallback
from runcast.core.events import TrainerCallback
from runcast.trainer.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

class Data(torch.utils.data.Dataset):
    def __init__(self, count):
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        return {"x": self.x[index], "labels": (self.x[index].sum() > 0).long(), "index": index}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 2)
    def forward(self, x):
        return self.linear(x)

class Interrupt(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 3 and mode == "interrupt":
            raise KeyboardInterrupt

out, mode, accumulation = sys.argv[1], sys.argv[2], int(sys.argv[3])
size = int(os.environ["WORLD_SIZE"])
args = TrainingArguments(
    output_dir=out, num_train_epochs=2, per_device_train_batch_size=8 // size, gradient_accumulation_steps=accumulation,
    learning_rate=0.1, optim="sgd",
    logging_steps=2, save_strategy="steps", save_steps=3, use_cpu=True, disable_tqdm=True, report_to="none", eval_strategy="epoch",
)
report = ReportCallback("none", dir=out + "/runs")
seen = []
def metrics(result):
    seen.append(result.label_ids.tolist())
    return {"count": len(result.label_ids)}
trainer = Trainer(Net(), args, Data(48), Data(13), compute_metrics=metrics, callbacks=[report, Interrupt])
try:
    trainer.train(resume_from_checkpoint="last" if mode == "resume" else None)
except KeyboardInterrupt:
    os._exit(0)
rank = int(os.environ.get("RANK", 0))
with open(f"{out}/rank-{rank}.json", "w") as file:
    weights = [value.tolist() for value in trainer.model.state_dict().values()]
    evals = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    json.dump({"weights": weights, "count": evals[-1]["eval_count"], "eval_loss": evals[-1]["eval_loss"], "labels": seen[-1], "losses": losses}, file)
"""


def train(folder, processes, mode="whole", accumulation=1):
    """Run the script in so many processes; return what each rank ended with."""
    folder.mkdir(exist_ok=True)
    script = folder / "train.py"
    script.write_text(SCRIPT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, str(script), str(folder), mode, str(accumulation)],
        env=environment,
        capture_output=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


@pytest.mark.slow
def test_two_ranks_have_the_same_weights_metrics_and_one_run(tmp_path):
    """Gradients are averaged, evaluation is shared and joined in order, one run is written, and a resumed training is the uninterrupted one."""
    first, second = train(tmp_path / "whole", 2, accumulation=2)

    assert first == second
    assert first["count"] == 13
    generator = torch.Generator().manual_seed(1)
    assert first["labels"] == (torch.randn(13, 4, generator=generator).sum(1) > 0).long().tolist()
    assert len(list((tmp_path / "whole" / "runs").iterdir())) == 1

    train(tmp_path / "parts", 2, "interrupt", accumulation=2)
    assert (tmp_path / "parts" / "checkpoint-3" / "rank-1.pt").exists()
    resumed = train(tmp_path / "parts", 2, "resume", accumulation=2)

    assert [rank["weights"] for rank in resumed] == [first["weights"]] * 2
    assert resumed[0]["losses"] == first["losses"]


@pytest.mark.slow
def test_a_checkpoint_of_two_processes_is_refused_by_three_but_not_misread(tmp_path):
    """The number of processes is part of a position in the data."""
    train(tmp_path, 2, "interrupt")

    with pytest.raises(AssertionError, match="was written by 2 processes"):
        train(tmp_path, 3, "resume")
