"""Callbacks in a job of two processes on the CPU, with gloo: they agree, and share the work."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.ranks import run_ranks

JOB = """
import json, os, sys
from pathlib import Path
from types import SimpleNamespace

import torch
from rich.console import Console
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import runcast
from runcast.callbacks import saving
from runcast.callbacks.weights import whole_weights, write_model
from runcast.core.events import TrainerState

out = Path(sys.argv[1])
found = {}

# A training in which the clocks of the processes are not the same.
rank, now = int(os.environ["RANK"]), [0.0]

def pass_time(*_, **__):
    now[0] += 40.0 if rank == 0 else 0.0

saving.time = SimpleNamespace(monotonic=lambda: now[0])
args = runcast.TrainingArguments(
    output_dir=str(out / "clock"), report_to="none", use_cpu=True, save_strategy="no", max_steps=4, logging_steps=2,
    per_device_train_batch_size=1,
)
data = [(torch.zeros(1), torch.zeros(1))] * 16
callbacks = [
    runcast.ModelCheckpointCallback(every_minutes=1), ("on_step_begin", pass_time),
    runcast.ProgressCallback(Console(quiet=True)),
]
loss = nn.functional.mse_loss
runcast.Trainer(nn.Linear(1, 1), args, train_dataset=data, compute_loss=loss, callbacks=callbacks).train()

# A metric of five examples, in batches of two.
def evaluate(model, width):
    calls, seen = [], []
    handle = model.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0][:, 0].tolist()))
    data = [(torch.full((width,), float(n)), n) for n in range(5)]
    metric = runcast.MetricCallback(
        lambda p, t: seen.append([len(p), [int(x) for x in t]]) or 1.0, data, batch_size=2, name="own"
    )
    logs = {"eval_loss": 1.0}
    metric.on_log(None, TrainerState(global_step=1), None, logs=logs, model=model)
    handle.remove()
    return [calls, seen, logs]

found["whole"] = evaluate(nn.Linear(1, 1), 1)

# A model of which each process has a part of every weight.
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
torch.save(model.state_dict(), out / f"whole-{rank}.pt")
mesh = init_device_mesh("cpu", (2,))
for part in (model[0], model):
    fully_shard(part, mesh=mesh)
found["sharded"] = evaluate(model, 4)
measured = runcast.WatchCallback("parameters", 1)._measure(1, model)
found["norms"] = {name: row[0].item() for name, row in zip(measured.names, measured.rows)}
weights = whole_weights(model)
if rank == 0:
    write_model(model, weights, out)
(out / f"{rank}.json").write_text(json.dumps(found))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Run the job once; return its folder, and what each process has found."""
    folder = tmp_path_factory.mktemp("job")
    script = folder / "job.py"
    script.write_text(JOB)
    ended = run_ranks([script, folder], folder, 2)
    assert ended.codes == [0, 0], "\n".join(output[-3000:] for output in ended.outputs)
    return folder, [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_they_save_together_by_the_clock_of_the_first(job):
    """Where they log; a job in which each went by its own clock would wait for ever."""
    folder, _ = job

    assert sorted(path.name for path in (folder / "clock").glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]


@pytest.mark.parametrize("model", ["whole", "sharded"])
def test_they_share_a_metric_and_agree(job, model):
    """Each runs as many batches as the other, and both have the metric of the whole dataset, in its order."""
    _, (first, second) = job

    assert first[model][0] == [[0.0, 1.0], [4.0]]
    assert second[model][0] == [[2.0, 3.0], [4.0]]
    assert first[model][1:] == second[model][1:] == [[[5, [0, 1, 2, 3, 4]]], {"eval_loss": 1.0, "eval_own": 1.0}]


def test_norms_are_those_of_whole_weights(job):
    """Both processes have them, though each has a part of the weights only, and of one none."""
    folder, (first, second) = job
    whole = torch.load(folder / "whole-0.pt")

    assert first["norms"] == second["norms"]
    assert first["norms"] == pytest.approx({f"parameters/{key}": value.norm().item() for key, value in whole.items()})


def test_what_is_pushed_is_whole(job):
    """The shards are put together."""
    folder, _ = job
    whole, pushed = torch.load(folder / "whole-0.pt"), load_file(folder / "model.safetensors")

    assert whole.keys() == pushed.keys()
    assert all(torch.equal(whole[key], pushed[key]) for key in whole)
