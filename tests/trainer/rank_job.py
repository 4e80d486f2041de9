"""What each process of a job runs in the tests of ranks: `python rank_job.py SCENARIO FOLDER`, with gloo on the CPU.

Each rank writes what it found to FOLDER/<rank>.json.
"""

import contextlib
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from runcast.callbacks.progress import ProgressCallback
from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.callbacks.stopping import EarlyStoppingCallback
from runcast.core.events import TrainerCallback
from runcast.trainer.checkpoints import snapshot
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer
from tests.trainer.jobs import content

RANK, SIZE = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
OUT = Path(sys.argv[2])


class Numbers(torch.utils.data.Dataset):
    """So many examples with an id, and a record of what was read."""

    def __init__(self, count):
        self.x = torch.randn(count, 3, generator=torch.Generator().manual_seed(1))
        self.read = []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.read.append(index)
        return {"x": self.x[index], "labels": (self.x[index].sum() > 0).long()}


class Net(nn.Module):
    """One layer, the same in every process."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


def make(data, eval_data=None, callbacks=(), folder="out", **settings):
    """Make a quiet Trainer."""
    own = {name: settings.pop(name) for name in ("compute_metrics", "data_collator") if name in settings}
    model = settings.pop("model", None) or Net()
    settings = {
        "output_dir": str(OUT / folder),
        "report_to": "none",
        "use_cpu": True,
        "save_strategy": "no",
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "learning_rate": 0.1,
        "optim": "sgd",
        "logging_steps": 1000,
    } | settings
    callbacks = [*callbacks, ProgressCallback(Console(quiet=True))]
    return Trainer(
        model, TrainingArguments(**settings), train_dataset=data, eval_dataset=eval_data, callbacks=callbacks, **own
    )


def saved(folder="out"):
    """List the checkpoints."""
    return sorted(path.name for path in (OUT / folder).glob("checkpoint-*"))


class OnRank(TrainerCallback):
    """Sets a switch at a step, on one rank only."""

    def __init__(self, rank, event, switch, step):
        self.rank, self.switch, self.step, self.seen = rank, switch, step, []
        setattr(self, event, self.act)

    def act(self, args, state, control, **kwargs):
        if self.rank == RANK and state.global_step == self.step:
            setattr(control, self.switch, True)

    def on_save(self, args, state, control, **kwargs):
        self.seen.append(f"save {state.global_step}")

    def on_evaluate(self, args, state, control, **kwargs):
        self.seen.append(f"evaluate {state.global_step}")

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.seen.append(f"epoch {state.global_step}")

    def on_log(self, args, state, control, logs, **kwargs):
        if "loss" in logs:
            self.seen.append(f"log {state.global_step}")


def switches():
    """Each switch, set by one rank, at each event that may set it."""
    found = {}
    last = SIZE - 1
    for event in ("on_step_end", "on_epoch_end", "on_log", "on_evaluate", "on_save", "on_substep_end"):
        for switch in ("should_training_stop", "should_epoch_stop", "should_save", "should_evaluate", "should_log"):
            callback = OnRank(last, event, switch, 4 if event != "on_substep_end" else 3)
            name = f"{event} {switch}"
            trainer = make(
                Numbers(4 * SIZE * 2),
                Numbers(5),
                [callback],
                folder=name,
                num_train_epochs=2,
                gradient_accumulation_steps=2,
                per_device_train_batch_size=1,
                logging_steps=4,
                eval_strategy="epoch",
                save_strategy="epoch",
            )
            trainer.train()
            found[name] = [*callback.seen, f"end {trainer.state.global_step}"]
    return found


def own_metrics():
    """A metric that is another one on each rank decides what is best."""
    calls = iter(([1.0, 3.0, 2.0], [3.0, 1.0, 2.0], [2.0, 1.0, 3.0])[RANK])
    trainer = make(
        Numbers(8 * SIZE),
        DataLoader(Numbers(6), batch_size=2),
        compute_metrics=lambda result: {"own": next(calls)},
        max_steps=3,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        metric_for_best_model="own",
        greater_is_better=True,
        load_best_model_at_end=True,
    )
    trainer.train()
    state = trainer.state
    values = [entry["eval_own"] for entry in state.log_history if "eval_own" in entry]
    weights = trainer.model.layer.weight.tolist()
    return {"best": [state.best_metric, state.best_global_step], "saved": saved(), "weights": weights, "seen": values}


def ready_eval_loader():
    """A DistributedSampler repeats examples; what is evaluated is each example once."""
    found = {}
    for count in (1, 2, 5, 7, 8):
        for shuffle in (False, True):
            data = Numbers(count)
            sampler = DistributedSampler(data, SIZE, RANK, shuffle=shuffle)
            seen = []
            trainer = make(
                Numbers(8),
                compute_metrics=lambda result, seen=seen: seen.append(result) or {"count": len(result.label_ids)},
            )
            metrics = trainer.evaluate(DataLoader(data, batch_size=2, sampler=sampler))
            predicted = trainer.predict(DataLoader(data, batch_size=2, sampler=sampler)).predictions
            with torch.no_grad():
                logits = trainer.model(data.x)
            loss = nn.functional.cross_entropy(logits, (data.x.sum(1) > 0).long()).item()
            whole = sorted(map(tuple, torch.tensor(predicted).round(decimals=4).tolist()))
            expected = sorted(map(tuple, logits.round(decimals=4).tolist()))
            found[f"{count} {shuffle}"] = [
                metrics["eval_count"],
                abs(metrics["eval_loss"] - loss) < 1e-6,
                whole == expected,
                len(seen[0].predictions),
            ]
    return found


def top_k():
    """The best two, and at most two checkpoints: every rank ranks by the same scores."""
    values = iter([5.0, 4.0, 6.0, 4.5, 7.0, 2.0])
    callback = ModelCheckpointCallback(top_k=2, metric="own", greater_is_better=True)
    trainer = make(
        Numbers(8 * SIZE),
        Numbers(4),
        [callback],
        compute_metrics=lambda result: {"own": next(values)},
        max_steps=6,
        eval_strategy="steps",
        eval_steps=1,
        save_total_limit=2,
    )
    trainer.train()
    return {"saved": saved()}


def resumed_identity():
    """Who is the first process is not what a checkpoint says."""
    make(Numbers(8 * SIZE), max_steps=2, save_strategy="steps", save_steps=1).train()
    trainer = make(Numbers(8 * SIZE), max_steps=3)
    trainer.train(resume_from_checkpoint=True)
    return {"first": trainer.state.is_world_process_zero, "step": trainer.state.global_step}


class Stream(IterableDataset):
    """A stream with another length on each rank."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(Numbers(self.count))


def unequal_data():
    """Streams and ready loaders that are longer on one rank than on another end together."""
    found = {}
    for name, data in {
        "stream": DataLoader(Stream(8 + 3 * RANK), batch_size=2),
        "loader": DataLoader(Numbers(8 + 4 * RANK), batch_size=2),
        "batches": DataLoader(Numbers(8 + 4 * RANK), batch_sampler=[[0, 1]] * (4 + RANK)),
    }.items():
        trainer = make(data, max_steps=6, gradient_accumulation_steps=2)
        trainer.train()
        found[name] = [trainer.state.global_step, trainer.model.layer.weight.tolist()]
    try:
        make(Numbers(8 + RANK), max_steps=2).train()
    except ValueError as error:
        found["datasets"] = str(error)
    try:
        make(Numbers(8), Numbers(8 + RANK)).evaluate()
    except ValueError as error:
        found["eval datasets"] = str(error)
    return found


def sigterm():
    """One rank is told to go, in the middle of an evaluation."""

    class Kill(TrainerCallback):
        def __init__(self):
            self.batches = 0

        def on_prediction_step(self, args, state, control, **kwargs):
            self.batches += 1
            if self.batches == 2 and RANK == SIZE - 1:
                os.kill(os.getpid(), signal.SIGTERM)

    callback = Kill()
    trainer = make(
        Numbers(8 * SIZE),
        Numbers(20 * SIZE),
        [callback],
        max_steps=9,
        eval_strategy="steps",
        eval_steps=3,
        save_strategy="steps",
        save_steps=3,
        enable_jit_checkpoint=True,
        load_best_model_at_end=True,
    )
    try:
        trainer.train()
    except SystemExit as error:
        return {"code": error.code, "step": trainer.state.global_step, "batches": callback.batches, "saved": saved()}
    return {}


def rank_fails():
    """One rank fails where the others wait for it; a last checkpoint is saved."""

    def fail(args, state, control, **kwargs):
        if state.global_step == 2 and int(sys.argv[3]) == RANK:
            raise ValueError("broken data")

    callbacks = [ModelCheckpointCallback(on_exception=True), (sys.argv[4], fail)]
    trainer = make(Numbers(8 * SIZE), Numbers(4), callbacks, max_steps=4, eval_strategy="steps", eval_steps=2)
    trainer.train()
    return {}


def all_fail():
    """All ranks are interrupted at the same place, save together, and may go on."""

    def fail(args, state, control, **kwargs):
        if state.global_step == 2:
            raise KeyboardInterrupt

    trainer = make(
        Numbers(8 * SIZE), None, [ModelCheckpointCallback(on_exception=True), ("on_step_end", fail)], max_steps=4
    )
    with contextlib.suppress(KeyboardInterrupt):
        trainer.train()
    there = saved()
    trainer = make(Numbers(8 * SIZE), max_steps=4)
    trainer.train(resume_from_checkpoint=True)
    return {"saved": there, "step": trainer.state.global_step, "weights": trainer.model.layer.weight.tolist()}


def is_killed():
    """One rank dies without a word."""

    def die(args, state, control, **kwargs):
        if state.global_step == 2 and RANK == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    make(Numbers(8 * SIZE), None, [("on_step_begin", die)], max_steps=4).train()


def save_fails():
    """The state of a callback on one rank cannot be written."""

    class Odd(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            pass

        def state(self):
            raise RuntimeError("no state")

    make(Numbers(8 * SIZE), None, [Odd()], max_steps=2, save_strategy="steps", save_steps=1).train()


def weights_of_tokens():
    """The ranks have one and two tokens that count, then none and one, then none at all."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Embedding(4, 4)
            with torch.no_grad():
                self.scores.weight.zero_()
                self.scores.weight[1, 0] = math.log(3)

        def forward(self, tokens, labels=None):
            logits = self.scores(tokens)
            return {"loss": nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten()), "logits": logits}

    even, half, masked = ([0, 0], [1, -100]), ([1, 1], [0, 0]), ([0, 0], [-100, -100])
    examples = [[even, masked, masked], [half, even, masked]][RANK]
    data = [{"tokens": torch.tensor(tokens), "labels": torch.tensor(labels)} for tokens, labels in examples]
    trainer = make(DataLoader(data, batch_size=1), max_steps=3, logging_steps=1, learning_rate=1e-30, model=Tokens())
    trainer.train()
    found = {
        key: [e[key] for e in trainer.state.log_history if key in e] for key in ("loss", "train_loss", "grad_norm")
    }
    sampler = DistributedSampler(range(2), SIZE, RANK, shuffle=False)
    loader = DataLoader([data[0], data[-1]], batch_size=1, sampler=sampler)
    return found | {"eval_loss": trainer.evaluate(loader)["eval_loss"]}


def masked_language_model():
    """Two sequences a step and rank: the second rank has none that counts, then a rank has one of two, then nobody any."""
    from tests.trainer.language_model import OUT as IGNORED, loss_by_hand, sequences, tiny_language_model

    steps = [sequences(4, seed) for seed in range(3)]  # of each step, the first two are the first rank's
    for step, masked in zip(steps, [(2, 3), (0,), (0, 1, 2, 3)], strict=True):
        for place in masked:
            step[place]["labels"][:] = IGNORED
    model = tiny_language_model()
    whole = [example for step in steps for example in step]
    by_hand = [loss_by_hand(model, examples) for examples in (*steps, whole)]
    own = [example for step in steps for example in step[2 * RANK : 2 * RANK + 2]]
    settings = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "learning_rate": 1e-30}
    found = {"by_hand": by_hand}
    for bf16 in (False, True):
        loader = DataLoader(own, batch_size=1)
        trainer = make(loader, whole, model=model, max_steps=3, logging_steps=1, bf16=bf16, **settings)
        trainer.train()
        losses = [entry.get("loss") for entry in trainer.state.log_history if "learning_rate" in entry]
        found[f"bf16={bf16}"] = [*losses, trainer.evaluate()["eval_loss"]]
    return found


def caught_by_one():
    """The second rank fails, its script catches that, and goes on with something else until the first one is told."""
    told = OUT / "told"

    def fail(args, state, control, **kwargs):
        if RANK == 1 and state.global_step == 2:
            raise ValueError("mine")

    try:
        make(Numbers(40), None, [("on_step_end", fail)], max_steps=8, ddp_timeout=4).train()
    except Exception as error:
        if RANK == 0:
            told.touch()
        while not told.exists():
            time.sleep(0.05)
        return {"error": f"{type(error).__name__}: {error}"}
    return {}


def best_weights_on_one_machine():
    """Only the first rank finds the checkpoint of the best step."""
    from safetensors.torch import save_model

    root = OUT / f"machine-{RANK}"
    (root / "checkpoint-7").mkdir(parents=True)
    if RANK == 0:
        save_model(Net(), str(root / "checkpoint-7" / "model.safetensors"))
    model = Net()
    nn.init.constant_(model.layer.weight, 3.0)
    stopping = EarlyStoppingCallback(1, restore_best=True)
    stopping.best, stopping.best_step = 0.5, 7
    trainer = make(Numbers(8), model=model)
    trainer.args.output_dir, trainer.state.global_step = str(root), 9
    stopping.on_train_end(trainer.args, trainer.state, trainer.control, model=model)
    return {"weight": model.layer.weight.sum().item()}


def interrupted():
    """Two ranks use 24 of 32 examples of the second epoch, eight a step, and are interrupted."""
    data = Numbers(32)

    def stop(args, state, control, **kwargs):
        data.read.append(f"step {state.global_step}")
        control.should_save = state.global_step == 7

    def interrupt(args, state, control, **kwargs):
        raise KeyboardInterrupt

    callbacks = [("on_step_end", stop), ("on_save", interrupt)]
    with contextlib.suppress(KeyboardInterrupt):
        make(data, None, callbacks, num_train_epochs=3, gradient_accumulation_steps=2).train()
    return {"read": data.read}


def resumed_by_others():
    """As many processes as there are now go on with what `interrupted` left."""
    data = Numbers(32)
    per_step = int(sys.argv[3])
    trainer = make(data, None, num_train_epochs=3, per_device_train_batch_size=per_step // SIZE)
    trainer.add_callback("on_step_end", lambda args, state, *_, **__: data.read.append(f"step {state.global_step}"))
    trainer.train(resume_from_checkpoint=str(OUT / ".." / "out" / "checkpoint-7"))
    return {"read": data.read, "steps": trainer.state.global_step, "loss": trainer.state.log_history[-1]["train_loss"]}


def replicated_shards():
    """Train sharded over all processes, in two replicas, and resumed in two replicas."""
    found = {}
    for name, config in (("sharded", None), ("replicas", {"replicas": 2})):
        settings = {"fsdp": True, "fsdp_config": config, "logging_steps": 1, "save_strategy": "steps", "save_steps": 1}
        trainer = make(Numbers(24), folder=name, num_train_epochs=1, optim="adamw_torch", **settings)
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        weight = trainer.model.layer.weight
        found[name] = losses, list(weight.to_local().shape), weight.full_tensor().tolist()
    again = make(Numbers(24), folder=name, num_train_epochs=1, optim="adamw_torch", **settings)
    again.train(resume_from_checkpoint=str(OUT / name / "checkpoint-1"))
    return {**found, "resumed": again.model.layer.weight.full_tensor().tolist()}


SAVES = {"optim": "adamw_torch", "save_strategy": "steps", "save_steps": 2, "max_steps": 6}


def in_background():
    """Checkpoints are written at once and in the background, with DDP and with FSDP."""
    found = {}
    for kind in ("ddp", "fsdp"):
        weights, seen = [], []
        for folder, more in (("at once", {}), ("later", {"async_save": True}), ("again", {"async_save": True})):
            trainer = make(Numbers(8 * SIZE), folder=f"{kind} {folder}", fsdp=kind == "fsdp", **SAVES, **more)
            if folder == "later":
                trainer.add_callback("on_save", partial(note_save, seen, trainer))
            resume = OUT / f"{kind} later" / "checkpoint-2" if folder == "again" else None
            trainer.train(resume_from_checkpoint=resume)
            weights.append(weight_of(trainer))
        one, other = (OUT / f"{kind} {folder}" / "checkpoint-4" for folder in ("at once", "later"))
        files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
        found[kind] = {
            "files": files == sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()),
            "different": [
                name for name in files if not name.endswith(".json") and content(one / name) != content(other / name)
            ],
            "seen": seen,
            "weights": weights,
        }
    stopping = OnRank(SIZE - 1, "on_save", "should_training_stop", 2)
    trainer = make(Numbers(8 * SIZE), None, [stopping], **SAVES | {"max_steps": 9, "async_save": True})
    trainer.train()
    return {**found, "stopped": trainer.state.global_step}


def note_save(seen, trainer, args, state, *_, **__):
    """Note the step of a checkpoint that is announced, and that of the training."""
    seen.append([state.global_step, trainer.state.global_step])


def weight_of(trainer):
    """Return the weight of the layer, gathered where it is sharded."""
    weight = trainer.model.layer.weight
    return (weight.full_tensor() if hasattr(weight, "full_tensor") else weight).tolist()


def killed_in_background():
    """The first rank dies when half of its second checkpoint's optimizer is on disk, and the training a step further."""
    went_on, write = threading.Event(), snapshot.save_tensors

    def write_half(value, path):
        write(value, path)
        if path.name == "optimizer.pt" and "checkpoint-4" in path.parent.name:
            os.truncate(path, path.stat().st_size // 2)
            went_on.wait(60)
            os.kill(os.getpid(), signal.SIGKILL)

    def go_on(args, state, control, **kwargs):
        if state.global_step == 5:
            went_on.set()

    snapshot.save_tensors = write_half
    make(Numbers(8 * SIZE), None, [("on_step_end", go_on)], async_save=True, **SAVES).train()


def after_the_kill():
    """Resume from the last checkpoint, and train without having been interrupted."""
    came_from = []
    note = ("on_checkpoint_load", lambda *_, checkpoint, **__: came_from.append(checkpoint.name))
    alone, resumed = (
        make(Numbers(8 * SIZE), None, [note], folder, async_save=True, **SAVES) for folder in ("alone", "out")
    )
    alone.train()
    resumed.train(resume_from_checkpoint="last")
    weights = [weight_of(trainer) for trainer in (alone, resumed)]
    return {"from": came_from, "weights": weights, "left": saved()}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    result = globals()[sys.argv[1]]()
    (OUT / f"{RANK}.json").write_text(json.dumps(result))
