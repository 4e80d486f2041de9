"""The README.md of a model on a hub: its settings, its metrics, and links to its training."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from runcast.core.events import TrainerState
from runcast.redaction.tree import redact_text
from runcast.run.run import Run
from runcast.values.numbers import as_json, leaves

# What people want to know of a training; the names are those of TrainingArguments.
SETTINGS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "optim",
    "weight_decay",
    "max_grad_norm",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "bf16",
    "fp16",
    "seed",
)
TIMES = ("_runtime", "_per_second")


def model_card(
    name: str, args: Any, state: TrainerState, model: Any, runs: Iterable[Run], more: Mapping[str, Any] | None = None
) -> str:
    """Write the card as Markdown, with the metadata that the hub reads.

    *more* of them has the names of transformers: language, license, tags, model_name, finetuned_from, tasks and
    dataset_tags.
    """
    more = dict(more or {})
    is_transformers = hasattr(getattr(model, "config", None), "to_dict")
    head: dict[str, Any] = {"library_name": "transformers" if is_transformers else "pytorch", "tags": ["runcast"]}
    head["tags"] = [*dict.fromkeys([*_list(more.get("tags")), *head["tags"]])]
    for key, given in {"language": "language", "license": "license", "base_model": "finetuned_from"}.items():
        head |= {key: more[given]} if more.get(given) else {}
    for key, given in {"datasets": "dataset_tags", "pipeline_tag": "tasks"}.items():
        head |= {key: _list(more[given])} if more.get(given) else {}
    name = more.get("model_name") or name
    parts = [
        "\n".join(("---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---")),
        f"# {_cell(name)}",
        (
            f"A `{type(model).__name__}` of {_parameters(model):,} parameters, trained for {state.global_step:,} steps "
            f"({state.epoch or 0:.2f} epochs)."
        ),
    ]
    if links := _links(runs):
        parts += ["## The training", "\n".join(links)]
    if metrics := _latest(state.log_history):
        parts += ["## Metrics", _table(("metric", "value", "step"), metrics)]
    settings = [(key, getattr(args, key)) for key in SETTINGS if getattr(args, key, None) is not None]
    parts += ["## Settings", _table(("setting", "value"), settings)]
    return "\n\n".join(parts) + "\n"


def _list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple | set) else [value]


def _links(runs: Iterable[Run]) -> list[str]:
    """List the web addresses of the run in the trackers; local paths would be useless to others."""
    urls = {name: url for run in runs for name, url in run.urls.items() if url.startswith(("http://", "https://"))}
    return [f"- [{_cell(name)}]({redact_text(url)})" for name, url in urls.items()]


def _latest(history: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """List the last value of each metric, with its step."""
    found: dict[str, tuple[str, str, int]] = {}
    for entry in history:
        for key, value in leaves(as_json(entry)):
            if key not in ("step", "epoch") and not key.endswith(TIMES) and isinstance(value, int | float):
                found[key] = (key, f"{value:.6g}", int(entry.get("step", 0)))
    return [found[key] for key in sorted(found, key=lambda key: (not key.startswith("eval_"), key))]


def _table(columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: Any) -> str:
    return redact_text(str(getattr(value, "value", value))).replace("|", "\\|").replace("\n", " ")


def _parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters()) if hasattr(model, "parameters") else 0
