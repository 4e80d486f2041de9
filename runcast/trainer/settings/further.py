"""Settings of transformers that few scripts give."""

import logging
from dataclasses import dataclass
from typing import Annotated, Any

from runcast.core.errors import OptionError
from runcast.trainer.settings.compatibility import TransformersCompat

_LEVELS = {"detail": logging.DEBUG, "passive": logging.NOTSET}


@dataclass(kw_only=True)
class FurtherArguments(TransformersCompat):
    """Settings of a Trainer that few scripts give; their names and defaults are those of transformers."""

    do_train: Annotated[bool, "For scripts: whether they are to call train()."] = False
    do_eval: Annotated[bool, "For scripts: whether they are to call evaluate(); true with an eval_strategy."] = False
    do_predict: Annotated[bool, "For scripts: whether they are to call predict()."] = False

    remove_unused_columns: Annotated[bool, "Drop what the model's forward does not take before collating."] = True
    train_sampling_strategy: Annotated[str, "random, sequential, or group_by_length."] = "random"
    length_column_name: Annotated[str, "The entry of an example that has its length, for group_by_length."] = "length"
    auto_find_batch_size: Annotated[bool, "Begin anew with a smaller batch where memory runs out."] = False
    dataloader_in_order: Annotated[bool, "Give batches in the order of the data, whichever worker is faster."] = True
    dataloader_multiprocessing_context: Annotated[str | None, "How workers are started: fork, spawn."] = None

    label_smoothing_factor: Annotated[float, "Of each label, the share that goes to all classes."] = 0.0
    neftune_noise_alpha: Annotated[float | None, "Noise that is added to the embeddings while training."] = None
    use_cache: Annotated[bool, "Let a model of transformers keep keys and values while training."] = False
    activation_checkpointing: Annotated[bool | None, "The same as gradient_checkpointing."] = None
    activation_checkpointing_kwargs: Annotated[dict[str, Any] | str | None, "Arguments of checkpoint."] = None
    gradient_checkpointing_kwargs: Annotated[dict[str, Any] | str | None, "The same."] = None
    torch_compile_blocks: Annotated[bool, "With torch_compile: compile each block by itself, which is faster."] = False
    torch_empty_cache_steps: Annotated[int | None, "Empty the cache of the device each so many steps."] = None

    include_for_metrics: Annotated[list[str] | None, "What compute_metrics also gets: inputs, loss."] = None
    batch_eval_metrics: Annotated[bool, "Call compute_metrics with each batch, and compute_result=True at last."] = (
        False
    )
    bf16_full_eval: Annotated[bool, "Cast the model to bfloat16 for an evaluation outside a training."] = False
    fp16_full_eval: Annotated[bool, "Cast the model to float16 for an evaluation outside a training."] = False
    eval_use_gather_object: Annotated[bool, "No difference: any object is gathered."] = False

    logging_nan_inf_filter: Annotated[bool, "Log the mean of the other steps in place of a NaN loss."] = False
    log_level: Annotated[str, "Of runcast's messages: debug, info, warning, error, critical, or passive."] = "passive"
    log_level_replica: Annotated[str, "The same in processes that do not speak for their machine."] = "warning"
    log_on_each_node: Annotated[bool, "Let one process of each machine log, not of the job."] = True

    hub_revision: Annotated[str | None, "The branch to push to."] = None
    ddp_bucket_cap_mb: Annotated[int | None, "The size of the buckets in which DDP averages gradients."] = None
    ddp_broadcast_buffers: Annotated[bool | None, "Let DDP copy buffers of the first process to the others."] = None
    ddp_static_graph: Annotated[bool | None, "Let DDP take it that each step computes the same."] = None
    trackio_space_id: Annotated[str | None, "Read by the TrackioCallback of transformers."] = None
    trackio_bucket_id: Annotated[str | None, "Read by the TrackioCallback of transformers."] = None
    trackio_static_space_id: Annotated[str | None, "Read by the TrackioCallback of transformers."] = None

    @property
    def checkpoints_activations(self) -> bool:
        """Return whether activations are computed again in the backward pass."""
        older = bool(vars(self)["gradient_checkpointing"])
        return older if self.activation_checkpointing is None else self.activation_checkpointing

    def mapping(self, name: str) -> dict[str, Any]:
        """Return a setting that is a mapping; an empty one, if it is not given."""
        return dict(vars(self)[name] or {})

    def get_process_log_level(self) -> int:
        """Return the level at which the libraries of this process log."""
        name = self.log_level if self.should_log else self.log_level_replica
        if self.log_level == "passive" and name != self.log_level_replica:
            return logging.getLogger("transformers").getEffectiveLevel()
        return _LEVELS.get(name) or int(getattr(logging, name.upper(), logging.WARNING))

    def check_further(self) -> None:
        """Check what these settings say together.

        Raises:
            OptionError: They contradict each other.
        """
        unknown = set(self.include_for_metrics or ()) - {"inputs", "loss"}
        if unknown:
            raise OptionError(f"include_for_metrics has {sorted(unknown)}. Valid names are: inputs, loss.")
        if self.bf16_full_eval and self.fp16_full_eval:
            raise OptionError("bf16_full_eval and fp16_full_eval exclude each other.")
        self.do_eval = self.do_eval or vars(self)["eval_strategy"] != "no"
