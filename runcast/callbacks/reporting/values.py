"""The values of a report under the field's names: params, metrics, and the final summary."""

from collections.abc import Iterable, Mapping
from typing import Any

from runcast.callbacks.monitor import Monitor
from runcast.core.events import TrainerState
from runcast.values.params import plain

# What a training logs once, at its end, as transformers calls it, and its name in the summary. The loss is the mean of
# all steps: `train/loss` is the name of its points.
SUMMARY = {
    "train_runtime": "train/runtime",
    "train_samples_per_second": "train/samples_per_second",
    "train_steps_per_second": "train/steps_per_second",
    "train_tokens_per_second": "train/tokens_per_second",
    "train_loss": "train/mean_loss",
    "train_mfu": "train/mfu",
    "total_flos": "train/flops",
}


def best_of(args: Any, state: TrainerState) -> dict[str, Any]:
    """Return the best evaluation for the summary."""
    return {f"best/{metric_name(Monitor().name(args))}": state.best_metric, "best/step": state.best_global_step or 0}


def params_of(args: Any, model: Any) -> dict[str, Any]:
    """Collect the configuration: the arguments, the model's configuration and size, and its adapters (PEFT)."""
    params = plain(args)
    about = plain(getattr(model, "config", None))
    if hasattr(model, "parameters"):
        about |= {
            "class": type(model).__name__,
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
    peft = plain(getattr(model, "peft_config", None))
    return params | ({"model": about} if about else {}) | ({"peft": peft} if peft else {})


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the metrics; those of an evaluation with a prefix of its own, which times itself, go by that prefix."""
    texts = {str(key): value for key, value in values.items()}
    own = tuple(key.removesuffix("_runtime") for key in texts if key.endswith("_runtime"))
    return {metric_name(key, own): value for key, value in texts.items()}


def metric_name(key: str, prefixes: Iterable[str] = ()) -> str:
    """Name a metric as the field does: eval_loss is eval/loss, test_loss test/loss, loss train/loss.

    A name with a slash stays.
    """
    if "/" in key:
        return key
    for split in ("eval", "test", *prefixes):
        if key.startswith(f"{split}_"):
            return f"{split}/{key[len(split) + 1 :]}"
    return f"train/{key}"
