"""Two processes on the CPU train as one with twice the batch, with gloo."""

import json

import pytest
import torch
from safetensors.torch import load_file

from runcast.history.finding import list_runs
from runcast.history.overview import overview
from runcast.history.views.contents import contents
from tests.ranks import run_ranks

SCRIPT = """
import json, os, resource, sys
import torch
from torch import nn
from runcast.callbacks.reporting import ReportCallback
from runcast.core.events import TrainerCallback
from runcast.trainer.settings.arguments import TrainingArguments
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
        torch.manual_seed(int(os.environ["RANK"]))  # the first process's weights are those of all
        self.linear = nn.Linear(4, 2)
    def forward(self, x):
        return self.linear(x)

class DeepNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(int(os.environ["RANK"]))
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 4))])
        self.linear = nn.Linear(4, 2)
    def forward(self, x):
        return self.linear(self.blocks[0](x))

class Interrupt(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt

out, modes, sharded = sys.argv[1], sys.argv[2].split(","), "sharded" in sys.argv
size, rank = int(os.environ["WORLD_SIZE"]), int(os.environ["RANK"])

def run(mode, folder):
    seen = []
    def metrics(result):
        seen.append(result.label_ids.tolist())
        return {"count": len(result.label_ids)}
    args = TrainingArguments(
        output_dir=folder, num_train_epochs=2, per_device_train_batch_size=8 // size, gradient_accumulation_steps=2,
        learning_rate=0.01 if sharded else 0.1, optim="adamw_torch_fused" if sharded else "sgd", fsdp=sharded,
        logging_steps=2, save_strategy="steps", save_steps=3, use_cpu=True, disable_tqdm=True, report_to="none", eval_strategy="epoch",
    )
    report = ReportCallback("none", dir=folder + "/runs", per_rank=True)
    class Own(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            report.run.log({"own": state.global_step + rank / 2}, step=state.global_step)
    callbacks = [report, Own(), Interrupt] if mode == "interrupt" else [report, Own()]
    trainer = Trainer(DeepNet() if sharded else Net(), args, train_dataset=Data(48), eval_dataset=Data(13), compute_metrics=metrics, callbacks=callbacks)
    try:
        trainer.train(resume_from_checkpoint="last" if mode == "resume" else None)
    except KeyboardInterrupt:
        return
    if mode == "full":
        with open(f"{out}/full-{rank}.txt", "w") as file:
            file.write(f"{trainer.state.global_step} " + " ".join(sorted(name for name in os.listdir(folder) if "checkpoint" in name)))
        return
    if sharded:
        trainer.save_model(folder + "/model")
        trainer.export(folder + "/exported")
        trainer.evaluate(torch.utils.data.Subset(Data(48), range(9)))  # 5 and 4 in batches of 8, 3 and 2 in batches of 2
        stream = type("Stream", (torch.utils.data.IterableDataset,), {"__iter__": lambda self: iter(Data(7))})()
        trainer.evaluate(stream)
    with open(f"{folder}/{mode}-{rank}.json", "w") as file:
        weights = [(value.to_local() if hasattr(value, "to_local") else value).tolist() for value in trainer.model.state_dict().values()]
        evals = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        json.dump({"weights": weights, "count": evals[-1]["eval_count"], "eval_loss": evals[-1]["eval_loss"], "labels": seen[-1], "losses": losses}, file)

for mode in modes:
    if mode == "full" and rank == 1:  # the disk of one process is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    run(mode, out + {"whole": "/whole", "full": "/full"}.get(mode, "/parts"))
"""


def train(folder, processes, modes, *more):
    """Run the script in so many processes; return a function that reads what each rank ended with in a mode."""
    script = folder / "train.py"
    script.write_text(SCRIPT)
    job = run_ranks([script, folder, modes, *more], folder, processes)
    assert job.codes == [0] * processes, "\n".join(output[-3000:] for output in job.outputs)
    return lambda mode: [json.loads(path.read_text()) for path in sorted(folder.glob(f"*/{mode}-*.json"))]


def only_run(folder):
    """Return the curves of the one run that a training left."""
    (directory,) = list_runs(folder / "runs")
    overview(directory)
    return contents(directory).curves


def numbers(count):
    """Return what the script trains on."""
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_two_ranks_have_the_same_weights_metrics_and_one_run(tmp_path):
    """Gradients are averaged, evaluation is shared and joined in order, one run is written, and a resumed training is the uninterrupted one, by as many processes."""
    ended = train(tmp_path, 2, "whole,interrupt,resume")

    first, second = ended("whole")
    assert first == second
    assert first["count"] == 13
    assert first["labels"] == (numbers(13).sum(1) > 0).long().tolist()
    curves = only_run(tmp_path / "whole")
    steps = range(1, 7)
    assert curves["own"] == [(step, float(step)) for step in steps]
    assert curves["rank1/own"] == [(step, step + 0.5) for step in steps]
    assert not [name for name in curves if name.startswith("rank1/") and name != "rank1/own"]

    assert (tmp_path / "parts" / "checkpoint-3" / "rank-1.pt").exists()
    assert [rank["weights"] for rank in ended("resume")] == [first["weights"]] * 2
    assert ended("resume")[0]["losses"] == first["losses"]
    assert sorted(only_run(tmp_path / "parts")["rank1/own"]) == curves["rank1/own"]  # one run of two sessions


@pytest.mark.slow
def test_a_sharded_training_is_resumed_bit_identically_and_its_weights_are_written_whole(tmp_path):
    """With fsdp=True each rank holds and saves its part, without any pickled code; evaluation, export and a resumed training work as with DDP."""
    ended = train(tmp_path, 2, "whole,interrupt,resume,full", "sharded")

    first, second = ended("whole")
    assert [len(rank["weights"][0]) for rank in (first, second)] == [3, 2]  # of five rows
    assert first["labels"] == second["labels"] == (numbers(7).sum(1) > 0).long().tolist()
    assert first["count"] == 7

    checkpoint = tmp_path / "parts" / "checkpoint-3"
    assert {path.name for path in checkpoint.iterdir()} == {
        "checkpoint.json",
        "model-shards",
        "optimizer-shards",
        "rank-0.pt",
        "rank-1.pt",
        "runcast.json",
        "scheduler.pt",
        "trainer_state.json",
        "training_args.json",
    }
    assert {path.suffix for path in checkpoint.glob("*-shards/*")} == {".safetensors"}
    assert [rank["weights"] for rank in ended("resume")] == [first["weights"], second["weights"]]
    assert ended("resume")[0]["losses"] == first["losses"]

    whole = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    assert torch.equal(whole["blocks.0.0.weight"], torch.tensor(first["weights"][0] + second["weights"][0]))
    assert whole.keys() == load_file(tmp_path / "whole" / "exported.safetensors").keys()

    # A disk that is full for one process costs the checkpoints, and hangs nobody.
    assert [(tmp_path / f"full-{rank}.txt").read_text() for rank in (0, 1)] == ["6 ", "6 "]


@pytest.mark.slow
def test_a_sharded_training_is_resumed_by_another_number_of_processes(tmp_path):
    """Three go on with what two have left: the shards are read anew, and all have the same losses."""
    train(tmp_path, 2, "interrupt", "sharded")

    first, *others = train(tmp_path, 3, "resume", "sharded")("resume")

    assert [rank["losses"] for rank in others] == [first["losses"]] * 2
    assert [len(rank["weights"][0]) for rank in (first, *others)] == [2, 2, 1]  # of five rows
    assert min(first["losses"]) < first["losses"][0]  # of a few examples each, so not every one is smaller
