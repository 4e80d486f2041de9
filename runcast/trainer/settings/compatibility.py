"""What callbacks of transformers ask of the arguments, besides the settings: so that they run unchanged."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from runcast.values.numbers import as_json


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


class TransformersCompat:
    """The answers of `transformers.TrainingArguments`."""

    trackio_space_id = trackio_bucket_id = trackio_static_space_id = None  # of their TrackioCallback
    # Settings of theirs that this Trainer does not have, each with the value that says so.
    deepspeed = accelerator_config = parallelism_config = gradient_checkpointing_kwargs = hub_revision = None
    neftune_noise_alpha = liger_kernel_config = optim_target_modules = torch_empty_cache_steps = xla_fsdp_config = None
    deepspeed_plugin = dataloader_multiprocessing_context = logging_dir = None
    auto_find_batch_size = use_liger_kernel = hub_always_push = bf16_full_eval = fp16_full_eval = False
    batch_eval_metrics = save_on_each_node = activation_checkpointing = False
    label_smoothing_factor = 0.0
    skip_memory_metrics = log_on_each_node = place_model_on_device = True
    log_level = log_level_replica = "passive"

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
    def do_eval(self) -> bool:
        """Return whether there are evaluations."""
        return bool(self.to_dict()["eval_strategy"] != "no")

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
    def do_train(self) -> bool:
        """Return whether there is a training, which the user decides by calling `train`."""
        return True

    @property
    def do_predict(self) -> bool:
        """Return whether there is a prediction, which the user decides by calling `predict`."""
        return False

    @property
    def local_rank(self) -> int:
        """Return the number of this process on its machine."""
        return self.local_process_index

    @property
    def should_save(self) -> bool:
        """Return whether this process writes what is of the whole job."""
        return self.process_index == 0

    @property
    def should_log(self) -> bool:
        """Return whether this process speaks for its machine."""
        return self.local_process_index == 0

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

    def get_process_log_level(self) -> int:
        """Return the level at which the libraries of this process log."""
        return logging.getLogger("transformers").getEffectiveLevel()

    @contextlib.contextmanager
    def main_process_first(self, local: bool = True, desc: str = "work") -> Iterator[None]:
        """Let the first process of each machine (or of the job) do the work of a block before the others."""
        import torch

        is_first = self.should_log if local else self.should_save
        waits = torch.distributed.is_available() and torch.distributed.is_initialized()
        if waits and not is_first:
            torch.distributed.barrier()
        try:
            yield
        finally:
            if waits and is_first:
                torch.distributed.barrier()
