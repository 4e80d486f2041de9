"""Write the table in `docs/trainer.md`: what each name of transformers' Trainer and TrainingArguments is here."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
import transformers

from runcast.trainer.methods.refused import NOT_CALLED
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.settings.compatibility import NotHere
from runcast.trainer.trainer import Trainer

DOCS = Path(__file__).parent.parent / "docs" / "trainer.md"
BEGIN, END = "<!-- made by tools/transformers_table.py -->\n", "<!-- end -->"

# What has the same name and is not quite the same.
DIFFERS = {
    "activation_checkpointing": "for any module, whose blocks are those that FSDP would gather",
    "auto_find_batch_size": "the attempt begins anew within the same call; its run in the trackers is the same one",
    "dataloader_pin_memory": "where there is a GPU or an XPU",
    "disable_tqdm": "by default False",
    "ddp_find_unused_parameters": "by default False, also with gradient checkpointing",
    "fsdp": "true or false: FSDP2 with full sharding",
    "fsdp_config": "transformer_layer_cls_to_wrap, min_num_params, reshard_after_forward, cpu_offload, replicas",
    "full_determinism": "torch's deterministic algorithms; transformers switches more off",
    "gradient_checkpointing": "for any module, as activation_checkpointing",
    "include_for_metrics": "None for an empty list",
    "include_num_input_tokens_seen": "logs also have tokens_per_second",
    "logging_nan_inf_filter": "by default False: a NaN is shown",
    "lr_scheduler_type": "not greedy, nor cosine_warmup_with_min_lr",
    "optim": "adamw_torch_fused, adamw_torch, adam, sgd, rmsprop, adafactor; another as optimizer_cls_and_kwargs",
    "optim_args": "also a mapping",
    "output_dir": "by default trainer_output",
    "project": "by default the name that runcast finds",
    "push_to_hub": "in a child process, while training goes on",
    "report_to": "by default RUNCAST_REPORT_TO, else every tracker that is installed; through runcast",
    "restore_callback_states_from_checkpoint": "by default True",
    "resume_from_checkpoint": "also 'last', which starts from scratch where there is none",
    "save_only_model": "one cannot resume from it",
    "train_sampling_strategy": "not batch_rebalance; group_by_length is drawn from the seed",
    "max_grad_norm": "with 0 the norm is not measured",
    "get_eval_dataloader": "not kept from evaluation to evaluation",
    "log": "callbacks may add values; start_time is not used",
    "predict": "a dataset without labels has no loss",
    "prediction_step": "predictions are the logits, if there are some and ignore_keys is not given",
    "save_model": "returns the folder",
    "train": "each training has an optimizer of its own, unless one was given",
    "hyperparameter_search": "with optuna, in a single process",
    "add_callback": "also an event and a function; a second one of a class is only mentioned if given as a class",
    "create_model_card": "the card has runcast's form",
    "accelerator": "backward, device, gather, prepare, unwrap_model, wait_for_everyone, the ranks, distributed_type",
    "data_collator": "examples may also be tuples, tensors and dataclasses",
}
# What neither class here has, and nothing refuses.
ABSENT = {
    **dict.fromkeys(
        (
            "default_optim",
            "distributed_state",
            "fsdp_plugin_args",
            "is_torch_greater_or_equal_than_2_8",
            "parallel_mode",
        ),
        "Use world_size and process_index.",
    ),
    **dict.fromkeys(
        [f"set_{name}" for name in ("dataloader", "evaluate", "logging", "lr_scheduler", "optimizer", "push_to_hub")]
        + [f"set_{name}" for name in ("save", "testing", "training")],
        "Give the settings themselves.",
    ),
    **dict.fromkeys(
        (
            *("is_distributed_loading_by_transformers", "is_fsdp_xla_enabled", "is_fsdp_xla_v1_enabled"),
            *("is_fsdp_xla_v2_enabled", "place_model_on_device"),
        ),
        "Use trainer.device, and fsdp=True.",
    ),
    "neftune_noise_alpha": "Use args.neftune_noise_alpha.",
    **dict.fromkeys(("current_flos", "gather_function"), "Use state.total_flos and trainer.ranks."),
    "hub_model_id": "Use args.hub_model_id.",
}


def theirs() -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of everything that the two classes of transformers have."""
    fields = [field.name for field in dataclasses.fields(transformers.TrainingArguments)]
    yield from (("setting", name) for name in fields)
    arguments = transformers.TrainingArguments("out", report_to="none", use_cpu=True)
    yield from (("argument", n) for n in dir(arguments) if not n.startswith("_") and n not in fields)
    trainer = transformers.Trainer(torch.nn.Linear(1, 1), arguments)
    own = set(dir(transformers.Trainer))
    yield from (("method", name) for name in sorted(own) if not name.startswith("__"))
    yield from (("attribute", n) for n in sorted(vars(trainer)) if not n.startswith("_") and n not in own)


def answer(kind: str, name: str) -> str:
    """Return "same", "differs: how" or "not here: use …"; an empty text for what nobody has thought about."""
    if kind == "setting":
        hint: Any = get_type_hints(TrainingArguments, include_extras=True).get(name)
        if hint is None:
            return ""
        if isinstance(get_args(hint)[1], NotHere):
            return f"not here: {get_args(hint)[1]}"
    elif kind == "argument":
        if not hasattr(TrainingArguments("out"), name):
            return f"not here: {ABSENT[name]}" if name in ABSENT else ""
    elif name in NOT_CALLED and not hasattr(Trainer, name):
        return f"not here: {NOT_CALLED[name]}"
    elif not hasattr(_trainer(), name):
        return f"not here: {ABSENT[name]}" if name in ABSENT else ""
    return (
        f"differs: {DIFFERS[name]}" if name in DIFFERS and not (kind != "method" and name == "push_to_hub") else "same"
    )


def table() -> str:
    """Return the table as Markdown: names with the same answer are in one row.

    Raises:
        LookupError: transformers has names that nobody has thought about.
    """
    titles = {"setting": "setting", "argument": "other attribute of TrainingArguments", "method": "method of Trainer"}
    found: dict[tuple[str, str], list[str]] = {}
    for kind, name in theirs():
        found.setdefault((titles.get(kind, "attribute of Trainer"), answer(kind, name)), []).append(f"`{name}`")
    if unknown := [name for (_, text), names in found.items() if not text for name in names]:
        raise LookupError(f"transformers {transformers.__version__} has {', '.join(unknown)}. Add each of them here.")
    rows = [f"| {kind} | {text} | {', '.join(names)} |" for (kind, text), names in found.items()]
    head = ["| | here | names |", "|---|---|---|"]
    return (
        "\n".join([*head, *sorted(rows, key=lambda row: (row.split("|")[1], "not here" in row, "differs" in row))])
        + "\n"
    )


def _trainer() -> Trainer:
    return Trainer(torch.nn.Linear(1, 1), TrainingArguments("out", report_to="none", use_cpu=True, disable_tqdm=True))


def with_table(text: str) -> str:
    """Put the table into the page."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCS.write_text(with_table(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{DOCS}: transformers {transformers.__version__}\n")
