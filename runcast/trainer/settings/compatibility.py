"""What callbacks of transformers ask of the arguments, besides the settings: so that they run unchanged."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from runcast.core.errors import OptionError
from runcast.run.ranks import joined_job
from runcast.trainer.settings.unknown import refuse_unknown
from runcast.values.numbers import as_json

Settings = TypeVar("Settings", bound="TransformersCompat")


class DeviceSetting:
    """The setting `device`: given as a word or a torch.device, read as the torch.device that it stands for.

    The word itself is in `vars(args)`, and is all that there is without torch.
    """

    def __get__(self, args: Any, owner: type) -> Any:
        if args is None:
            return None  # the default, for the dataclass
        word = "cpu" if args.use_cpu else vars(args)["device"]
        try:
            import torch
        except ImportError:
            return word
        if word is None:
            return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
        return torch.device(word)

    def __set__(self, args: Any, value: Any) -> None:
        vars(args)["device"] = str(value) if type(value).__module__ == "torch" else value


class ReportSetting:
    """The setting `report_to`: not given, it is read as what it stands for; `vars(args)` tells whether it was given.

    Scripts ask `"wandb" in args.report_to`.
    """

    def __get__(self, args: Any, owner: type) -> Any:
        given = ... if args is None else vars(args)["report_to"]
        return given if given is not ... or args is None else os.environ.get("RUNCAST_REPORT_TO") or "all"

    def __set__(self, args: Any, value: Any) -> None:
        vars(args)["report_to"] = ... if isinstance(value, str) and value == "default" else value

    @staticmethod
    def as_text(given: Any) -> str:
        """Return a choice as text that means the same."""
        if isinstance(given, list | tuple | set | frozenset):
            return ",".join(map(str, given)) or "none"
        return "default" if given is ... else str(given)


class NotHere(str):
    """What to use instead of a setting of transformers that this Trainer does not have."""


@dataclass(kw_only=True)
class TransformersCompat:
    """The answers of `transformers.TrainingArguments`, and those of its settings that are refused."""

    accelerator_config: Annotated[
        Any | str | None, NotHere("Use dataloader_…, ddp_… and gradient_accumulation_steps.")
    ] = None
    debug: Annotated[
        Any | str | None, NotHere("Use torch.autograd.set_detect_anomaly(True), or TerminateOnNaNCallback.")
    ] = ""
    deepspeed: Annotated[
        Any | str | None, NotHere("Use fsdp=True, with fsdp_config={'cpu_offload': True} to offload.")
    ] = None
    eval_do_concat_batches: Annotated[
        Any | str | None, NotHere("Use batch_eval_metrics or preprocess_logits_for_metrics.")
    ] = True
    hub_always_push: Annotated[Any | str | None, NotHere("Use hub_strategy='every_save', whose newest push wins.")] = (
        False
    )
    liger_kernel_config: Annotated[Any | str | None, NotHere("Use liger_kernel's own patch of the model.")] = None
    local_rank: Annotated[Any | str | None, NotHere("Use torchrun, which sets LOCAL_RANK.")] = -1
    optim_target_modules: Annotated[Any | str | None, NotHere("Use optimizer_cls_and_kwargs of the Trainer.")] = None
    parallelism_config: Annotated[Any | str | None, NotHere("Use fsdp=True.")] = None
    save_on_each_node: Annotated[Any | str | None, NotHere("Use an output_dir that all machines share.")] = False
    skip_memory_metrics: Annotated[Any | str | None, NotHere("Use memory_gib, which each log has on a GPU.")] = True
    use_liger_kernel: Annotated[Any | str | None, NotHere("Use liger_kernel's own patch of the model.")] = False

    # What callbacks ask and no setting is.
    xla_fsdp_config = deepspeed_plugin = logging_dir = None
    place_model_on_device = True

    def __new__(cls: type[Settings], *_: Any, **settings: Any) -> Settings:
        """Refuse settings that do not exist, with what to use instead."""
        refuse_unknown(cls, settings)
        return object.__new__(cls)

    def refuse_others(self) -> None:
        """Refuse the settings that this Trainer does not have, unless they say so.

        Raises:
            OptionError: It names what to use instead.
        """
        for name, hint in get_type_hints(TransformersCompat, include_extras=True).items():
            value, usual = vars(self)[name], getattr(TransformersCompat, name)
            if value != usual and (value or usual) and name != "local_rank":  # [] and None say no, as "" does
                raise OptionError(f"{name}={value!r} is not supported. {get_args(hint)[1]}")
        self.local_rank = self.local_process_index

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        raise NotImplementedError

    def to_json_string(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(as_json(self.to_dict()), indent=2)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """Return the settings with nothing but numbers, switches and texts."""
        plain = (bool, int, float, str)
        return {name: value if type(value) in plain else str(value) for name, value in self.to_dict().items()}

    @property
    def process_index(self) -> int:
        """Return the number of this process in the job."""
        return int(os.environ.get("RANK", 0))

    @property
    def local_process_index(self) -> int:
        """Return the number of this process on its machine."""
        return int(os.environ.get("LOCAL_RANK", 0))

    @property
    def world_size(self) -> int:
        """Return how many processes the job has."""
        return int(os.environ.get("WORLD_SIZE", 1))

    @property
    def n_gpu(self) -> int:
        """Return how many GPUs this process uses."""
        import torch

        return int(torch.cuda.is_available() and not getattr(self, "use_cpu", False))

    @property
    def should_save(self) -> bool:
        """Return whether this process writes what is of the whole job."""
        return self.process_index == 0

    @property
    def should_log(self) -> bool:
        """Return whether this process speaks for its machine."""
        return (self.local_process_index if vars(self)["log_on_each_node"] else self.process_index) == 0

    @property
    def train_batch_size(self) -> int:
        """Return the examples of a training batch of this process."""
        return int(self.to_dict()["per_device_train_batch_size"])

    @property
    def eval_batch_size(self) -> int:
        """Return the examples of an evaluation batch of this process."""
        return int(self.to_dict()["per_device_eval_batch_size"])

    @property
    def mixed_precision(self) -> str:
        """Return the precision in Accelerate's words: bf16, fp16 or no."""
        return "bf16" if self.to_dict()["bf16"] else "fp16" if self.to_dict()["fp16"] else "no"

    @property
    def ddp_timeout_delta(self) -> timedelta:
        """Return the time that a collective operation may take."""
        return timedelta(seconds=int(self.to_dict()["ddp_timeout"]))

    @contextlib.contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Let the first process of each machine (or of the job) do the work of a block before the others."""
        is_first = self.should_log if local else self.should_save
        distributed = joined_job()
        if distributed is not None and not is_first:
            distributed.barrier()
        try:
            yield
        finally:
            if distributed is not None and is_first:
                distributed.barrier()
