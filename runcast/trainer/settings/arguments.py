"""The settings of a training: one typed, validated dataclass.

A name that `transformers.TrainingArguments` has means the same here.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, cast, get_type_hints

from runcast.core.errors import OptionError
from runcast.trainer.settings import limits, parsing
from runcast.trainer.settings.compatibility import DeviceSetting, ReportSetting, TransformersCompat
from runcast.trainer.settings.conversion import typed
from runcast.trainer.settings.further import FurtherArguments
from runcast.trainer.settings.limits import BELOW, CHOICES, FSDP_SETTINGS, NOT_NEGATIVE, POSITIVE


@dataclass(kw_only=True)
class TrainingArguments(FurtherArguments):
    """The settings of a Trainer, checked when they are made, so that nothing wrong is found an hour later."""

    output_dir: Annotated[str, "Where checkpoints are written."] = field(default="trainer_output", kw_only=False)

    num_train_epochs: Annotated[float, "Passes over the training data; a part of one is allowed."] = 3.0
    max_steps: Annotated[int, "Optimizer steps, if positive: it then beats num_train_epochs."] = -1
    per_device_train_batch_size: Annotated[int, "Examples of a training batch on each device."] = 8
    per_device_eval_batch_size: Annotated[int, "Examples of an evaluation batch on each device."] = 8
    gradient_accumulation_steps: Annotated[int, "Batches of one optimizer step."] = 1
    average_tokens_across_devices: Annotated[
        bool, "Weigh each batch by its share of the items of all devices, not of its own device alone."
    ] = True

    learning_rate: Annotated[float, "The peak learning rate."] = 5e-5
    lr_scheduler_type: Annotated[str, f"One of {', '.join(CHOICES['lr_scheduler_type'])}."] = "linear"
    lr_scheduler_kwargs: Annotated[
        dict[str, Any] | str | None,
        "Further settings of the schedule: num_cycles, power, lr_end, min_lr, timescale and so on.",
    ] = None
    warmup_steps: Annotated[
        float, "Steps in which the learning rate rises from 0; below 1 it is a share of all steps."
    ] = 0
    optim: Annotated[str, "adamw_torch_fused, adamw_torch, adam, sgd, rmsprop or adafactor."] = "adamw_torch_fused"
    optim_args: Annotated[
        dict[str, Any] | str | None, "Further arguments of the optimizer's class, also as 'momentum=0.9,nesterov=true'."
    ] = None
    weight_decay: Annotated[float, "Applied to all weights but biases and those of normalisation layers."] = 0.0
    adam_beta1: Annotated[float, "Decay of the first moment."] = 0.9
    adam_beta2: Annotated[float, "Decay of the second moment."] = 0.999
    adam_epsilon: Annotated[float, "Added to the denominator."] = 1e-8
    max_grad_norm: Annotated[float, "The norm to which gradients are clipped; 0 does not clip."] = 1.0

    bf16: Annotated[bool, "Compute in bfloat16 where that is safe (autocast)."] = False
    fp16: Annotated[bool, "Compute in float16 where that is safe, with a scaled loss (autocast)."] = False
    tf32: Annotated[bool | None, "Let float32 matrix products use TF32; None leaves torch's setting as it is."] = None
    torch_compile: Annotated[bool, "Compile the model."] = False
    torch_compile_backend: Annotated[str | None, "The backend of torch.compile."] = None
    torch_compile_mode: Annotated[str | None, "The mode of torch.compile."] = None
    gradient_checkpointing: Annotated[bool, "Recompute activations in the backward pass (models of transformers)."] = (
        False
    )
    use_cpu: Annotated[bool, "Train on the CPU although there is a GPU."] = False
    device: Annotated[
        str | None, "The device to train on: cpu, cuda, cuda:1, xpu or mps; None takes the best there is."
    ] = DeviceSetting()  # type: ignore[assignment]
    seed: Annotated[int, "Seeds Python, NumPy and torch when the Trainer is made."] = 42
    data_seed: Annotated[int | None, "Seeds the order of the data; None takes seed."] = None
    full_determinism: Annotated[bool, "Use deterministic algorithms only; slower."] = False

    logging_strategy: Annotated[str, "no, steps or epoch."] = "steps"
    logging_steps: Annotated[float, "Log each so many steps; below 1 it is a share of all steps."] = 500
    logging_first_step: Annotated[bool, "Log the first step too."] = False
    eval_strategy: Annotated[str, "no, steps or epoch."] = "no"
    eval_steps: Annotated[float | None, "Evaluate each so many steps; None takes logging_steps."] = None
    eval_delay: Annotated[float, "Epochs or steps (as eval_strategy counts) before the first evaluation."] = 0
    eval_on_start: Annotated[bool, "Evaluate before the first step."] = False
    eval_accumulation_steps: Annotated[
        int | None, "Move predictions to the host each so many batches; None does at the end."
    ] = None
    prediction_loss_only: Annotated[bool, "Keep no predictions while evaluating."] = False
    label_names: Annotated[
        list[str] | None, "Keys of a batch that are labels; None takes labels, label, label_ids, target, targets."
    ] = None

    save_strategy: Annotated[
        str, "no, steps, epoch, or best (at each evaluation that improves metric_for_best_model)."
    ] = "steps"
    save_steps: Annotated[float, "Save each so many steps; below 1 it is a share of all steps."] = 500
    save_total_limit: Annotated[int | None, "How many checkpoints are kept: the newest, and the best one."] = None
    save_only_model: Annotated[bool, "Save the weights alone: smaller, but one cannot resume from it."] = False
    async_save: Annotated[bool, "Write checkpoints from a copy in memory, while training continues."] = False
    enable_jit_checkpoint: Annotated[bool, "Save a checkpoint and stop when SIGTERM comes."] = False
    load_best_model_at_end: Annotated[bool, "Load the best checkpoint's weights when the training is over."] = False
    metric_for_best_model: Annotated[str | None, "The metric that says which checkpoint is best; None takes loss."] = (
        None
    )
    greater_is_better: Annotated[bool | None, "Its direction; None says yes, except for a name that ends in loss."] = (
        None
    )
    resume_from_checkpoint: Annotated[Literal[True, False] | str | None, "A checkpoint to resume from, or 'last'."] = (
        None
    )
    ignore_data_skip: Annotated[bool, "When resuming, restart the data of the epoch."] = False
    restore_callback_states_from_checkpoint: Annotated[bool, "When resuming, restore the stateful callbacks."] = True

    dataloader_num_workers: Annotated[int, "Processes that load data; 0 loads in this one."] = 0
    dataloader_pin_memory: Annotated[bool, "Pin memory, so that copies to a GPU overlap with its work."] = True
    dataloader_drop_last: Annotated[bool, "Drop the last batch of an epoch if it is not full."] = False
    dataloader_persistent_workers: Annotated[bool, "Keep the workers from epoch to epoch."] = False
    dataloader_prefetch_factor: Annotated[int | None, "Batches that each worker loads ahead."] = None

    report_to: Annotated[
        Any | str | None, "Trackers: all, none, a name, names, Trackers; not given, it is RUNCAST_REPORT_TO, else all."
    ] = ReportSetting()  # noqa: RUF009 - a descriptor
    project: Annotated[str | None, "The project of the run."] = None
    run_name: Annotated[str | None, "The name of the run."] = None
    disable_tqdm: Annotated[bool, "Print the logs instead of drawing a progress bar."] = False
    include_num_input_tokens_seen: Annotated[
        str, "Log how many tokens were trained on: no, all, or non_padding (those that the attention mask has)."
    ] = "no"

    push_to_hub: Annotated[bool, "Push the model to the Hugging Face Hub, as hub_strategy says."] = False
    hub_model_id: Annotated[str | None, "The repository to push to; None takes the name of output_dir."] = None
    hub_strategy: Annotated[str, "Push at the end, or each save, with checkpoint or all_checkpoints."] = "every_save"
    hub_token: Annotated[str | None, "The token to push with; None takes that of `hf auth login`."] = None
    hub_private_repo: Annotated[bool | None, "Make the repository private; None as the account's default."] = None

    ddp_backend: Annotated[
        str | None, "The backend of torch.distributed; None takes nccl for cuda, xccl for xpu, gloo for the CPU."
    ] = None
    ddp_timeout: Annotated[
        int, "Seconds that a collective operation may take, and others wait for a process that failed and lives on."
    ] = 1800
    ddp_find_unused_parameters: Annotated[bool, "Let DDP look for parameters without a gradient."] = False
    fsdp: Annotated[bool | None, "Shard weights, gradients and optimizer over the processes (FSDP2), not DDP."] = None
    fsdp_config: Annotated[
        dict[str, Any] | str | None,
        "How to shard: transformer_layer_cls_to_wrap, min_num_params, reshard_after_forward, cpu_offload, replicas.",
    ] = None

    def __post_init__(self) -> None:
        self.refuse_others()
        hints = get_type_hints(type(self))
        counts = str(self.include_num_input_tokens_seen).lower()
        self.include_num_input_tokens_seen = {"true": "all", "false": "no"}.get(counts, counts)
        for name in CHOICES:
            value = getattr(self, name)
            value = "no" if value is False and "no" in CHOICES[name] else str(getattr(value, "value", value)).lower()
            setattr(self, name, value)
            _require(
                value in CHOICES[name], f"{name}={value!r} is unknown. Valid values are: {', '.join(CHOICES[name])}."
            )
        for setting in fields(self):
            value = vars(self)[setting.name]
            if value is None and setting.name in limits.IS_DEFAULT_IF_NONE:
                setattr(self, setting.name, setting.default)
            elif setting.name not in CHOICES and value is not setting.default:
                setattr(self, setting.name, typed(setting.name, hints[setting.name], value))
        self._check_numbers()
        self._resolve_evaluation()
        _require(
            not (self.bf16 and self.fp16),
            "bf16 and fp16 exclude each other. Choose bf16 where the device has it: it needs no scaled loss.",
        )
        _require(
            not self.push_to_hub or self.hub_strategy == "end" or self.save_strategy != "steps" or self.save_steps >= 1,
            f"push_to_hub=True at every save needs save_steps={self.save_steps!r} as a whole number, not as a share.",
        )
        self.torch_compile = bool(self.torch_compile or self.torch_compile_backend or self.torch_compile_mode)
        self._resolve_devices()
        self.check_further()

    def _check_numbers(self) -> None:
        for name in (setting.name for setting in fields(self)):
            value = vars(self)[name]
            if value is None or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            _require(
                math.isfinite(value) or name == "max_grad_norm",  # that one measures, and does not clip
                f"{name}={value!r} is not a finite number.",
            )
            is_positive = value > 0 or (value == 0 and name in limits.CAN_BE_ZERO)
            _require(name not in POSITIVE or is_positive, f"{name}={value!r} must be positive.")
            _require(name not in NOT_NEGATIVE or value >= 0, f"{name}={value!r} must not be negative.")
            _require(name not in BELOW or value < BELOW[name], f"{name}={value!r} must be below {BELOW.get(name)}.")
        _require(
            self.save_total_limit is None or self.save_total_limit > 0,
            "save_total_limit must be positive, or None for all.",
        )
        for name in ("logging_steps", "eval_steps", "save_steps"):
            value = getattr(self, name)
            _require(
                value is None or value < 1 or value == int(value),
                f"{name}={value!r} is neither a whole number nor below 1 (a share).",
            )

    def _resolve_devices(self) -> None:
        device: str | None = vars(self)["device"]
        kind = "cpu" if device is None else device.partition(":")[0]
        _require(
            device is None or re.fullmatch(r"(cpu|cuda|xpu|mps)(:\d+)?", device) is not None,
            f"device={device!r} is unknown. Valid values are: cpu, cuda, xpu, mps, or one with a number: cuda:1.",
        )
        _require(
            kind == "cpu" or not self.use_cpu,
            f"use_cpu=True and device={device!r} contradict each other. Leave one of them out.",
        )
        if self.fsdp_config is not None:
            unknown = [name for name in self.fsdp_config if name not in FSDP_SETTINGS]
            _require(
                not unknown,
                f"fsdp_config has no {', '.join(map(repr, unknown))}. Valid names are: {', '.join(FSDP_SETTINGS)}.",
            )
            given = cast("dict[str, Any]", self.fsdp_config)
            self.fsdp_config = {
                name: typed(f"fsdp_config[{name!r}]", FSDP_SETTINGS[name], value) for name, value in given.items()
            }
            _require(bool(self.fsdp), "fsdp_config is given, but nothing is sharded. Set fsdp=True.")
        _require(
            not (self.fsdp and self.fp16),
            "fsdp=True and fp16=True do not go together: the scaled loss is not sharded. Use bf16=True.",
        )

    def _resolve_evaluation(self) -> None:
        if not self.eval_steps:
            self.eval_steps = self.logging_steps
        for kind in ("logging", "eval"):
            steps = getattr(self, f"{kind}_steps")
            _require(
                steps > 0 or getattr(self, f"{kind}_strategy") != "steps",
                f"{kind}_steps={steps!r} must be positive, as {kind}_strategy is 'steps'.",
            )
        if self.lr_scheduler_type == "reduce_lr_on_plateau":
            _require(self.eval_strategy != "no", "reduce_lr_on_plateau goes by an evaluation. Set an eval_strategy.")
            self.metric_for_best_model = self.metric_for_best_model or "loss"
        if self.load_best_model_at_end or self.save_strategy == "best":
            why = "load_best_model_at_end" if self.load_best_model_at_end else "save_strategy='best'"
            _require(
                self.eval_strategy != "no",
                f"{why} needs evaluations to know the best model. Set eval_strategy to 'steps' or 'epoch'.",
            )
            self.metric_for_best_model = self.metric_for_best_model or "loss"
        if self.load_best_model_at_end and self.save_strategy != "best":
            _require(
                self.save_strategy == self.eval_strategy
                and (self.save_strategy != "steps" or self._saves_are_evaluated),
                "load_best_model_at_end needs a checkpoint at an evaluation, but the strategies never meet: "
                f"save_strategy={self.save_strategy!r} with save_steps={self.save_steps!r}, eval_strategy="
                f"{self.eval_strategy!r} with eval_steps={self.eval_steps!r}. Set both to the same, with save_steps a "
                "multiple of eval_steps, or save_strategy='best'.",
            )
        if self.metric_for_best_model is not None and self.greater_is_better is None:
            self.greater_is_better = not self.metric_for_best_model.endswith("loss")

    @property
    def _saves_are_evaluated(self) -> bool:
        """Return whether save_steps is a multiple of eval_steps; of a share and a number of steps it is known later."""
        assert self.eval_steps is not None
        if (self.save_steps < 1) != (self.eval_steps < 1):
            return True
        times = self.save_steps / self.eval_steps
        return round(times) >= 1 and math.isclose(times, round(times), rel_tol=1e-9)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingArguments":
        """Make settings of a mapping; a wrong name raises, with the one that was meant."""
        return parsing.from_dict(cls, values)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "TrainingArguments":
        """Make settings of a JSON or YAML file."""
        return parsing.from_file(cls, path)

    @classmethod
    def from_command_line(cls, arguments: Sequence[str] | None = None) -> "TrainingArguments":
        """Make settings of the command line: --learning_rate 1e-3 --bf16 --config settings.yaml."""
        return parsing.from_command_line(cls, arguments)

    def get_warmup_steps(self, max_steps: int) -> int:
        """Settle the steps of the warm-up."""
        return int(self.warmup_steps) if self.warmup_steps >= 1 else int(-(-max_steps * self.warmup_steps // 1))

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        refused = vars(TransformersCompat)["__dataclass_fields__"]
        values = {setting.name: vars(self)[setting.name] for setting in fields(self) if setting.name not in refused}
        values["report_to"] = ReportSetting.as_text(values["report_to"])
        values["hub_token"] = None if self.hub_token is None else "<HUB_TOKEN>"  # a secret belongs into no file
        return values


def _require(good: bool, message: str) -> None:
    if not good:
        raise OptionError(message)
