"""Settings that do not exist: misspelt ones, and those of older versions of transformers, which many scripts give."""

import difflib
import inspect
from collections.abc import Iterable
from typing import Any

from runcast.core.errors import OptionError

_LEAVE_OUT = "Leave it out: {}."
_EARLIER = {
    "evaluation_strategy": "Use eval_strategy.",
    "evaluate_during_training": "Use eval_strategy='steps'.",
    "no_cuda": "Use use_cpu.",
    "use_mps_device": _LEAVE_OUT.format("the best device is used, or the one that device names"),
    "overwrite_output_dir": _LEAVE_OUT.format("a training begins from scratch unless it is told to resume"),
    "per_gpu_train_batch_size": "Use per_device_train_batch_size.",
    "per_gpu_eval_batch_size": "Use per_device_eval_batch_size.",
    "warmup_ratio": "Use warmup_steps, which below 1 is a share of all steps.",
    "group_by_length": "Use train_sampling_strategy='group_by_length'.",
    "adafactor": "Use optim='adafactor'.",
    "logging_dir": "Use the variable TENSORBOARD_LOGGING_DIR, or ReportCallback(dir=...) for the folder of the runs.",
    "save_safetensors": _LEAVE_OUT.format("weights are always safetensors"),
    "include_inputs_for_metrics": "Use include_for_metrics=['inputs'].",
    "include_tokens_per_second": _LEAVE_OUT.format("each log of a model that takes tokens has tokens_per_second"),
    **dict.fromkeys(
        ("fp16_backend", "half_precision_backend", "fp16_opt_level"),
        _LEAVE_OUT.format("fp16 and bf16 are torch's own autocast"),
    ),
    **dict.fromkeys(("push_to_hub_model_id", "push_to_hub_organization"), "Use hub_model_id='organization/name'."),
    "push_to_hub_token": "Use hub_token.",
    "torchdynamo": "Use torch_compile_backend.",
    **dict.fromkeys(
        ("jit_mode_eval", "use_ipex"), "Use torch_compile, or Trainer.export for a model that other programs run."
    ),
    "sharded_ddp": "Use fsdp=True.",
    **dict.fromkeys(("fsdp_min_num_params", "fsdp_transformer_layer_cls_to_wrap"), "Use fsdp_config."),
    **dict.fromkeys(("dispatch_batches", "split_batches"), "Give a ready DataLoader as the dataset."),
    **dict.fromkeys(
        ("ray_scope", "tpu_num_cores", "tpu_metrics_debug", "xpu_backend", "mp_parameters", "past_index"),
        _LEAVE_OUT.format("it has no meaning here"),
    ),
    "tokenizer": "Use processing_class.",
}


def refuse_unknown(kind: type[Any], names: Iterable[str], what: str = "setting") -> None:
    """Raise if a class takes no argument of one of these names; one that takes any knows itself what is right.

    Raises:
        OptionError: It says what to use instead of an older name, or which one was probably meant.
    """
    parameters = inspect.signature(kind.__init__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in names:
        if name not in parameters:
            close = difflib.get_close_matches(str(name), parameters, 1)
            hint = _EARLIER.get(name) or (f"Did you mean {close[0]!r}?" if close else "")
            raise OptionError(f"{name!r} is no {what} of {kind.__name__}. {hint}".rstrip())
