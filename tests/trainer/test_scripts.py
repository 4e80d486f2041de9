"""What scripts of transformers do with a Trainer and its arguments is possible here, and means the same."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import runcast
from runcast.core.errors import OptionError
from runcast.trainer.trainer import Trainer
from tests.adapters.tiny_transformers import TinyConfig, TinyModel, examples, transformers

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs are not ours to mend
SETTINGS = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 0.1, "logging_steps": 1, "use_cpu": True}
SETTINGS |= {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "per_device_eval_batch_size": 3}
LIBRARIES = (transformers, runcast)


def make(library, folder, parts=None, **settings):
    """Make a Trainer of either library, of the same tiny model and data."""
    args = library.TrainingArguments(str(folder), **SETTINGS | settings)
    parts = {"model": TinyModel(TinyConfig()), **(parts or {})}
    return library.Trainer(args=args, train_dataset=examples(20), eval_dataset=examples(7), **parts)


def losses(trainer):
    """List what was logged of the losses."""
    return [entry[key] for entry in trainer.state.log_history for key in ("loss", "eval_loss") if key in entry]


def in_both(tmp_path, look, parts=None, **settings):
    """Return what *look* finds in a Trainer of theirs and in ours."""
    return [look(make(library, tmp_path / library.__name__, parts and parts(), **settings)) for library in LIBRARIES]


def test_the_command_line_of_hf_argument_parser_is_read():
    """As the examples of transformers do, with settings as JSON, switches and no trackers."""
    parser = transformers.HfArgumentParser(runcast.TrainingArguments)
    line = ["--output_dir", "out", "--report_to", "none", "--lr_scheduler_type", "cosine_with_min_lr", "--bf16"]
    line += ["--lr_scheduler_kwargs", '{"min_lr": 1e-6}', "--label_names", "a", "b", "--do_train", "--max_steps", "3"]
    line += ["--resume_from_checkpoint", "out/checkpoint-1", "--no_remove_unused_columns", "--logging_steps", "0.5"]

    (args,) = parser.parse_args_into_dataclasses(line)

    assert (args.output_dir, args.report_to, args.bf16, args.max_steps) == ("out", "none", True, 3)
    assert (args.lr_scheduler_kwargs, args.label_names) == ({"min_lr": 1e-6}, ["a", "b"])
    assert (args.do_train, args.do_eval, args.remove_unused_columns, args.logging_steps) == (True, False, False, 0.5)
    assert args.resume_from_checkpoint == "out/checkpoint-1"


def test_our_own_command_line_reads_the_same():
    """What it read can be written and read again."""
    line = ["--report_to", "none", "--include_for_metrics", "inputs,loss", "--activation_checkpointing", "true"]
    args = runcast.TrainingArguments.from_command_line(
        [*line, "--gradient_checkpointing_kwargs", "use_reentrant=false"]
    )

    assert (args.report_to, args.include_for_metrics, args.checkpoints_activations) == (
        "none",
        ["inputs", "loss"],
        True,
    )
    assert args.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert runcast.TrainingArguments.from_dict(args.to_dict()) == args


def test_a_mapping_in_text_that_is_none_is_refused():
    """Though HfArgumentParser wants the type of such a setting to have a text in it."""
    with pytest.raises(OptionError, match="lr_scheduler_kwargs='steep' is not"):
        runcast.TrainingArguments(lr_scheduler_kwargs="steep")


@pytest.mark.parametrize(
    ("settings", "instead"),
    [
        ({"deepspeed": {"stage": 3}}, "fsdp=True"),
        ({"use_liger_kernel": True}, "liger_kernel's own patch"),
        ({"optim_target_modules": "all"}, "optimizer_cls_and_kwargs"),
        ({"eval_do_concat_batches": False}, "batch_eval_metrics"),
        ({"skip_memory_metrics": False}, "memory_gib"),
        ({"debug": "underflow_overflow"}, "set_detect_anomaly"),
    ],
)
def test_a_setting_that_is_not_here_is_refused_with_what_to_use(settings, instead):
    """Unless it says what is done anyway."""
    with pytest.raises(OptionError, match=rf"{next(iter(settings))}=.* is not supported\. Use .*{instead}"):
        runcast.TrainingArguments(**settings)
    assert runcast.TrainingArguments(deepspeed=None, use_liger_kernel=False, debug="", local_rank=-1).deepspeed is None


def test_a_trainer_takes_its_parts_in_the_order_of_transformers(tmp_path):
    """Model, arguments, collator, datasets, …; a dataset in the place of the collator is told where it belongs."""
    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS)
    model, data = TinyModel(TinyConfig()), examples(8)

    trainer = Trainer(model, args, transformers.default_data_collator, data, data)
    trainer.train()

    assert trainer.state.global_step == 4
    with pytest.raises(OptionError, match="data_collator is a list, not a function"):
        Trainer(model, args, data)
    with pytest.raises(OptionError, match="either a model or a model_init"):
        Trainer(args=args)


def test_metrics_and_state_are_written_to_the_same_files(tmp_path, capsys):
    """With the same contents, and printed in the same columns."""
    metrics = {"train_loss": 0.123456, "train_runtime": 3725.456, "total_flos": 3 * 2**30, "epoch": 2.0, "n": 7}

    def look(trainer):
        capsys.readouterr()
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
        trainer.save_metrics("eval", {"eval_loss": 1.5, "epoch": 3.0})
        trainer.save_metrics("test", {"test_loss": 2.5}, combined=False)
        trainer.save_state()
        folder = transformers.trainer.Path(trainer.args.output_dir)
        files = {path.name: json.loads(path.read_text()) for path in folder.glob("*_results.json")}
        state = json.loads((folder / "trainer_state.json").read_text())
        return files, state["global_step"], capsys.readouterr().out, trainer.is_world_process_zero()

    theirs, ours = in_both(tmp_path, look)

    assert ours == theirs
    assert ours[0]["all_results.json"] == {**metrics, "eval_loss": 1.5, "epoch": 3.0}


def test_parameters_rates_and_examples_are_counted_alike(tmp_path):
    """10 parameters, of which 8 are trained."""

    def look(trainer):
        trainer.model.linear.bias.requires_grad_(False)
        trainer.create_optimizer()
        loader = trainer.get_eval_dataloader()
        group = trainer.get_optimizer_group(trainer.model.linear.weight)
        rates = set(trainer.get_learning_rates())
        return trainer.get_num_trainable_parameters(), rates, trainer.num_examples(loader), group["lr"]

    theirs, ours = in_both(tmp_path, look)

    assert ours == theirs == (8, {0.1}, 7, 0.1)
    with pytest.raises(OptionError, match="no optimizer before train"):
        make(runcast, tmp_path).get_learning_rates()


class Plain(nn.Module):
    """The same network, with weights from the seed of the Trainer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    forward = TinyModel.forward
    error = None


def loss_of_outputs(outputs, labels, num_items_in_batch=None):
    """Add up squared errors, as a script that follows transformers does."""
    errors = ((outputs["logits"][:, 0] - labels) ** 2).sum()
    return errors / (len(labels) if num_items_in_batch is None else num_items_in_batch)


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        ({"compute_loss_func": loss_of_outputs}, {}),
        ({"compute_loss_func": loss_of_outputs}, {"gradient_accumulation_steps": 2}),
        ({}, {"label_smoothing_factor": 0.2}),
        ({}, {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.1}),
        ({"optimizer_cls_and_kwargs": (torch.optim.Adagrad, {"lr": 0.3})}, {}),
        ({}, {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0, "threshold": 9.0}}),
        ({}, {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 2}}),
        ({}, {"train_sampling_strategy": "sequential"}),
    ],
)
def test_both_have_the_same_losses(tmp_path, parts, settings):
    """With a loss, smoothing, an optimizer, a schedule or an order that one asks for; evaluated as well."""
    given = {"eval_strategy": "steps", "eval_steps": 1, **settings}

    def look(trainer):
        trainer.train()
        return losses(trainer)

    theirs, ours = in_both(tmp_path, look, lambda: parts, **given)

    assert len(ours) == 8
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_metrics_are_given_what_they_ask_for(tmp_path, monkeypatch):
    """Logits after preprocessing, inputs, losses; they unpack like those of transformers."""

    def metrics(result):
        predictions, labels, inputs, each = result
        right = float((predictions == labels).mean())
        return {"right": right, "x": float(np.abs(inputs).sum()), "loss_of_each": float(each.sum()), "n": len(each)}

    parts = {"compute_metrics": metrics, "preprocess_logits_for_metrics": lambda logits, labels: logits.argmax(-1)}

    monkeypatch.setattr(TinyModel, "main_input_name", "x")
    theirs, ours = [
        [t.evaluate()[f"eval_{name}"] for name in ("right", "x", "loss_of_each", "loss")]
        for t in (
            make(
                library,
                tmp_path / library.__name__,
                parts,
                include_for_metrics=["inputs", "loss"],
                per_device_eval_batch_size=7,
            )
            for library in LIBRARIES
        )
    ]

    assert ours == pytest.approx(theirs, rel=1e-5)


def test_an_input_that_is_not_there_is_named(tmp_path):
    """With how to say which one is meant."""
    trainer = make(runcast, tmp_path, {"compute_metrics": lambda result: {}}, include_for_metrics=["inputs"])

    with pytest.raises(OptionError, match=r"no 'input_ids'\. Set main_input_name"):
        trainer.evaluate()


def test_metrics_are_computed_batch_by_batch(tmp_path):
    """Called with each batch, and with compute_result at the last one."""

    class Count:
        def __init__(self):
            self.seen = []

        def __call__(self, result, compute_result):
            self.seen.append((len(result.predictions), compute_result))
            return {"n": sum(count for count, _ in self.seen)} if compute_result else {}

    def look(trainer):
        found = trainer.evaluate()
        return found["eval_n"], trainer.compute_metrics.seen

    theirs, ours = in_both(tmp_path, look, lambda: {"compute_metrics": Count()}, batch_eval_metrics=True)

    assert ours == theirs == (7, [(3, False), (3, False), (1, True)])


def test_a_model_is_made_anew_for_each_training(tmp_path):
    """model_init is called at construction and by train(), after seeding."""

    def look(trainer):
        first = trainer.model
        trainer.train()
        one = losses(trainer)
        trainer.train()
        return first is trainer.model, one == losses(trainer), one

    theirs, ours = in_both(tmp_path, look, lambda: {"model": None, "model_init": Plain})

    assert ours[:2] == theirs[:2] == (False, True)
    assert ours[2] == pytest.approx(theirs[2], rel=1e-6)


def test_a_search_finds_the_same_best_run(tmp_path):
    """With optuna, in folders of their own; the trial is in the state, and a pruned one ends early."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def look(trainer):
        best = trainer.hyperparameter_search(
            hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.01, 1.0, log=True)},
            n_trials=3,
            direction="minimize",
            hp_name=lambda trial: f"number {trial.number}",
            sampler=optuna.samplers.RandomSampler(seed=3),
        )
        return best.run_id, best.hyperparameters, best.objective, trainer.state.trial_name, trainer.state.trial_params

    settings = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 4}
    theirs, ours = in_both(tmp_path, look, lambda: {"model": None, "model_init": lambda trial: Plain()}, **settings)

    assert ours[:2] == theirs[:2]
    assert ours[2] == pytest.approx(theirs[2], rel=1e-6)
    assert ours[3:] == theirs[3:]
    folders = [
        sorted(path.relative_to(tmp_path / name).as_posix() for path in (tmp_path / name).glob("*/checkpoint-*"))
        for name in ("transformers", "runcast")
    ]
    assert folders[1] == folders[0] == [f"number {number}/checkpoint-4" for number in range(3)]


def test_a_batch_that_does_not_fit_is_made_smaller(tmp_path):
    """auto_find_batch_size begins anew with nine tenths, as often as needed; other errors stay."""

    class Big(TinyModel):
        def forward(self, x, labels=None):
            if len(x) > 5 and self.training:
                raise RuntimeError("CUDA out of memory. DefaultCPUAllocator: can't allocate memory")
            return super().forward(x, labels)

    def look(trainer):
        trainer.train()
        return trainer.state.train_batch_size, trainer.state.global_step

    theirs, ours = in_both(
        tmp_path, look, lambda: {"model": Big(TinyConfig())}, auto_find_batch_size=True, per_device_train_batch_size=8
    )

    assert ours == theirs == (5, 4)


def test_noise_is_added_to_the_embeddings_while_training(tmp_path):
    """NEFTune: ±α/√(tokens·width) at most, and none in an evaluation."""

    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(4, 2)
            nn.init.zeros_(self.embedding.weight)

        def get_input_embeddings(self):
            return self.embedding

        def forward(self, tokens, labels=None):
            self.seen = self.embedding(tokens)
            return {"loss": self.seen.sum(), "logits": self.seen}

    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS | {"max_steps": 1}, neftune_noise_alpha=4.0)
    trainer = Trainer(Words(), args, train_dataset=[{"tokens": torch.zeros(8, dtype=torch.long)}] * 4)
    trainer.train()
    noise = trainer.model.seen.abs()

    assert 0.9 < noise.max() <= 1.0
    trainer.evaluate([{"tokens": torch.ones(8, dtype=torch.long)}])
    assert trainer.model.seen.abs().max() == 0.0


def test_activations_of_any_module_are_computed_again(tmp_path):
    """The blocks of a ModuleList run twice, and the weights are the same as without; a model without blocks says so."""
    calls = []

    class Block(nn.Linear):
        def forward(self, x):
            calls.append(self.training)
            return torch.tanh(super().forward(x))

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.blocks = nn.ModuleList(Block(4, 4) for _ in range(2))

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    trained = []
    for settings in ({}, {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}):
        calls.clear()
        args = runcast.TrainingArguments(str(tmp_path), **SETTINGS | settings | {"max_steps": 1})
        trainer = Trainer(Deep(), args, train_dataset=examples(4))
        trainer.train()
        trained.append((len(calls), trainer.model.state_dict()))

    assert [count for count, _ in trained] == [2, 4]
    assert all(torch.equal(a, b) for a, b in zip(trained[0][1].values(), trained[1][1].values(), strict=True))
    with pytest.raises(OptionError, match="Linear has no blocks"):
        Trainer(
            nn.Linear(4, 2), runcast.TrainingArguments(str(tmp_path), gradient_checkpointing=True, report_to="none")
        )


def test_the_level_of_messages_is_that_of_the_arguments(monkeypatch):
    """That of a replica differs."""
    args = runcast.TrainingArguments("out", log_level="info", log_level_replica="error")
    assert args.get_process_log_level() == 20
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert args.get_process_log_level() == 40


def test_the_cache_is_emptied_and_an_evaluation_cast(tmp_path):
    """torch_empty_cache_steps has nothing to do on a CPU; bf16_full_eval leaves the model in bfloat16."""
    trainer = make(runcast, tmp_path, torch_empty_cache_steps=1, bf16_full_eval=True)
    trainer.train()
    assert trainer.model.linear.weight.dtype == torch.float32
    trainer.model.forward = lambda x, labels=None: {"logits": x.to(torch.bfloat16)}
    trainer.evaluate()
    assert trainer.model.linear.weight.dtype == torch.bfloat16


def test_a_loss_that_is_not_a_number_is_left_out_of_the_log(tmp_path):
    """logging_nan_inf_filter puts the mean of the others in its place; by default it is shown."""

    class Sometimes(TinyModel):
        calls = 0

        def forward(self, x, labels=None):
            self.calls += self.training
            result = super().forward(x, labels)
            return {**result, "loss": result["loss"] * float("nan")} if self.calls == 2 else result

    def look(trainer):
        trainer.train()
        return losses(trainer)

    settings = {"logging_nan_inf_filter": True, "logging_steps": 4, "learning_rate": 1e-30, "max_grad_norm": 0.0}
    theirs, ours = in_both(tmp_path, look, lambda: {"model": Sometimes(TinyConfig())}, optim="sgd", **settings)

    assert ours == pytest.approx(theirs, rel=1e-6)


def test_blocks_are_compiled_by_themselves(tmp_path):
    """Each block of a ModuleList, and not what is around them; a model without blocks says so."""
    compiled = []

    def backend(graph, inputs):
        compiled.append([str(node.target) for node in graph.graph.nodes])
        return graph.forward

    class Block(nn.Linear):
        def forward(self, x):
            return super().forward(x).tanh()

    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(Block(4, 4) for _ in range(2))

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x.exp()

    torch._dynamo.reset()
    torch._dynamo.backends.registry.register_backend(backend, name="noting")
    settings = {"torch_compile": True, "torch_compile_blocks": True, "torch_compile_backend": "noting"}
    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS | settings | {"max_steps": 1})
    Trainer(Deep(), args, train_dataset=examples(4)).train()

    assert any("tanh" in target for graph in compiled for target in graph)
    assert not any("exp" in target for graph in compiled for target in graph)
    with pytest.raises(OptionError, match="Linear has no blocks"):
        Trainer(nn.Linear(4, 2), args)
