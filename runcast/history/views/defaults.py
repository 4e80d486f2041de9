"""Which params of a run say something: those that are not the default of a trainer's own settings."""

from typing import Any

from runcast.values.params import flatten, plain, same_param

KNOWN_BY = ("per_device_train_batch_size", "lr_scheduler_type", "adam_beta1")


def telling(params: dict[str, Any]) -> dict[str, Any]:
    """Return the params without those that have the default of `TrainingArguments`, if the run has such settings."""
    if not all(key in params for key in KNOWN_BY):
        return params
    from runcast.trainer.settings.arguments import TrainingArguments  # rarely needed

    defaults = flatten(plain(TrainingArguments()))
    return {key: value for key, value in params.items() if key not in defaults or not same_param(value, defaults[key])}
