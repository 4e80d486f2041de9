"""Methods that a subclass of transformers' Trainer overrides, and that this Trainer would not call.

Training on, with another loss than the user wrote, is worse than an error: such a subclass is refused, by name.
"""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from runcast.core.errors import OptionError
from runcast.journal.paths import absolute
from runcast.trainer.data.loader import length_of
from runcast.trainer.model.items import LABELS
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.values.numbers import a

_LOADER = "Override get_train_dataloader or get_eval_dataloader, or give a ready DataLoader as a dataset."
_OPTIMIZER = "Override create_optimizer or create_scheduler, or give optimizers=(optimizer, schedule)."
_EVALUATION = "Override evaluate, evaluation_loop or prediction_step."
_SAVING = "Override save_model, or use a callback: on_save comes when a checkpoint is on disk."
_STEP = "Override training_step or compute_loss, or use callbacks (on_step_begin, on_pre_optimizer_step, on_step_end)."
_TRIAL = "Make a Trainer for each trial."
_SETTINGS = "Use the settings of TrainingArguments."
# The methods of transformers' Trainer, up to 5.23 (and hooks that older ones had), which nothing here calls.
NOT_CALLED = {
    **dict.fromkeys(
        (
            *("get_batch_samples", "autocast_smart_context_manager", "_get_num_items_in_batch"),
            *("_inner_training_loop", "_run_epoch", "_init_training_state", "_prepare_for_training", "_wrap_model"),
            *("_finalize_training", "_prepare_context_parallel_inputs", "_clip_grad_norm", "_get_grad_norm"),
            *("_mixed_mesh_grad_norm", "_has_mixed_mesh_grads", "_defer_fsdp_gradient_reduction"),
            *("_sync_replicated_trainable_parameters", "_maybe_log_save_evaluate", "_track_num_input_tokens"),
            *("store_flos", "floating_point_ops", "set_initial_training_values", "_update_auto_batch_size"),
            *("_move_model_to_device", "num_tokens", "end"),
        ),
        _STEP,
    ),
    **dict.fromkeys(
        (
            *("_get_dataloader", "num_examples", "_get_train_sampler", "_get_eval_sampler", "get_train_sampler"),
            *("get_eval_sampler", "_remove_unused_columns", "_set_signature_columns_if_needed"),
            "_get_collator_with_removed_columns",
        ),
        _LOADER,
    ),
    **dict.fromkeys(
        ("_get_learning_rate", "get_optimizer_cls_and_kwargs", "get_decay_parameter_names", "get_learning_rates"),
        _OPTIMIZER,
    ),
    **dict.fromkeys(("prediction_loop", "_evaluate", "_determine_best_metric"), _EVALUATION),
    **dict.fromkeys(
        (
            *("_save", "_save_checkpoint", "_rotate_checkpoints", "_sorted_checkpoints"),
            *("_save_rng_state", "_save_optimizer_and_scheduler", "_save_scaler", "_get_output_dir"),
            *("_load_from_checkpoint", "_load_best_model", "_load_rng_state", "_load_optimizer_and_scheduler"),
            *("_load_scaler", "_load_callback_state", "_issue_warnings_after_load", "_tune_save_checkpoint"),
            *("push_to_hub", "_push_from_checkpoint", "_finish_current_push", "init_hf_repo", "create_model_card"),
        ),
        _SAVING,
    ),
    **dict.fromkeys(("hyperparameter_search", "call_model_init", "_hp_search_setup", "_report_to_hp_search"), _TRIAL),
    **dict.fromkeys(
        (
            *("_validate_args", "_build_accelerator_args", "create_accelerator_and_postprocess"),
            *("get_total_train_batch_size", "get_sp_size", "get_cp_size", "get_tp_size"),
            *("is_local_process_zero", "is_world_process_zero"),
        ),
        _SETTINGS,
    ),
}
# What the loop does call of a subclass, and how.
_CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "evaluate": ((None,), {"metric_key_prefix": "eval_part"}),
    "evaluation_loop": ((None, "Evaluation", None, None, "eval"), {}),
    "prediction_step": ((None, {}, False), {}),
    "training_step": ((None, {}), {}),
    "compute_loss": ((None, {}), {"return_outputs": True}),
    "get_train_dataloader": ((), {}),
    "get_eval_dataloader": ((None,), {}),
    "get_test_dataloader": ((None,), {}),
    "create_optimizer_and_scheduler": ((1,), {}),
    "create_optimizer": ((), {}),
    "create_scheduler": ((1, None), {}),
    "save_model": (("folder",), {}),
    "log": (({},), {}),
    "event": (("on_log",), {"logs": {}}),
}


def refuse_unheard(kind: type, base: type) -> None:
    """Raise if a subclass of *base* overrides what the loop does not call, or not with these arguments.

    Raises:
        OptionError: It names each method, and what to use instead.
    """
    unheard = {
        name: other
        for other in reversed(kind.__mro__)
        for name, method in vars(other).items()
        if name in NOT_CALLED and not getattr(method, "__module__", "").startswith(__package__)
    }
    if unheard:
        raise OptionError(
            f"{kind.__name__} would not be trained as it says, as this Trainer does not call "
            + " ".join(f"{other.__name__}.{name}. {NOT_CALLED[name]}" for name, other in unheard.items())
            + " Or keep the class, and train it with transformers.Trainer and callbacks=[runcast.ReportCallback()]."
        )
    for name, (arguments, options) in _CALLS.items():
        method = inspect.getattr_static(kind, name)
        if method is not inspect.getattr_static(base, name):
            try:
                inspect.signature(getattr(kind, name)).bind(
                    *([] if isinstance(method, staticmethod | classmethod) else [None]), *arguments, **options
                )
            except TypeError as error:
                raise OptionError(
                    f"{kind.__name__}.{name} cannot be called as this Trainer calls it: {error}. Give it the signature "
                    f"of runcast.Trainer.{name}."
                ) from None


def settled(args: Any) -> TrainingArguments:
    """Return the settings of a Trainer, with the whole path of its folder.

    Raises:
        OptionError: They are something else.
    """
    args = TrainingArguments() if args is None else args
    if not isinstance(args, TrainingArguments):
        raise OptionError(
            f"args is {a(type(args))} of {type(args).__module__}. Give a runcast.TrainingArguments, which takes the "
            "same names; TrainingArguments.from_dict makes one of a mapping."
        )
    args.output_dir = str(absolute(Path(args.output_dir).expanduser()))
    return args


def check_parts(
    args: TrainingArguments, model: Any, collator: Any, eval_dataset: Any, callbacks: Any, **functions: Any
) -> None:
    """Check what a Trainer is made of.

    Raises:
        OptionError: A part is missing, or is something else.
    """
    if (model is None) == (functions["model_init"] is None):
        raise OptionError("Give the Trainer either a model or a model_init that makes one.")
    if model is not None and not isinstance(model, nn.Module):
        raise OptionError(f"model is a {type(model).__name__}, not a torch.nn.Module.")
    if collator is not None and not callable(collator):
        raise OptionError(
            f"data_collator is a {type(collator).__name__}, not a function. It comes third, as in transformers: give "
            "datasets by name, Trainer(model, args, train_dataset=...)."
        )
    for name, function in functions.items():
        if isinstance(function, type) and issubclass(function, nn.Module) and name != "model_init":
            raise OptionError(f"{name} is the class {function.__name__}. Give an instance: {function.__name__}().")
        if function is not None and not callable(function):
            raise OptionError(f"{name} is {a(type(function))}, not a function.")
    if callbacks is not None and (isinstance(callbacks, str) or not isinstance(callbacks, Iterable)):
        raise OptionError(f"callbacks is {a(type(callbacks))}. Give a list: callbacks=[...].")
    if isinstance(eval_dataset, Mapping) and (columns := {*LABELS, "input_ids"}.intersection(eval_dataset)):
        raise OptionError(
            f"eval_dataset has {min(columns)!r} among its names, so it is columns, while a mapping stands for several "
            "datasets by name. Give a list of examples, or a torch Dataset."
        )
    if args.eval_strategy == "no":
        return
    if eval_dataset is None:
        raise OptionError(
            f"eval_strategy={args.eval_strategy!r}, but there is no eval dataset. Give the Trainer one: "
            "Trainer(..., eval_dataset=...), or set eval_strategy='no'."
        )
    for name, data in eval_dataset.items() if isinstance(eval_dataset, Mapping) else [("", eval_dataset)]:
        if length_of(data) == 0:
            raise OptionError(f"The eval dataset {name!r} is empty." if name else "The eval dataset is empty.")


def refuse_attribute(name: str) -> None:
    """Raise if an attribute that is set on a Trainer would not be looked at.

    Raises:
        OptionError: It says what to use instead.
    """
    if name in NOT_CALLED:
        raise OptionError(f"Setting {name} on a Trainer changes nothing, as it does not call it. {NOT_CALLED[name]}")
