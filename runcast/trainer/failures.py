"""What a training that fails says: where it was, and what to try."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer

_CPU_MEMORY = "can't allocate memory"  # what torch says on the CPU, as a mere RuntimeError
_WORKER = "DataLoader worker"


def explained(trainer: "Trainer", error: BaseException) -> BaseException:
    """Return an error that says where memory ran out or a worker died; of the same kind. Any other stays as it is."""
    if isinstance(error, torch.OutOfMemoryError) or (isinstance(error, RuntimeError) and _CPU_MEMORY in str(error)):
        explained_error: BaseException = torch.OutOfMemoryError(_out_of_memory(trainer, error))
        return explained_error
    if isinstance(error, RuntimeError) and _WORKER in str(error):
        return RuntimeError(_dead_worker(trainer, error))
    return error


def no_loss(loss: torch.Tensor | None) -> str:
    """Return what is wrong with what was to be minimised."""
    if loss is None:
        return (
            "The model returned no loss, and none could be computed. Give labels with each batch, "
            "or compute_loss=function(outputs, labels)."
        )
    if loss.ndim:
        return f"The loss has the shape {tuple(loss.shape)}, but must be one number. Reduce it: loss.mean()"
    return (
        "The loss does not require a gradient, so nothing would be learned. It was detached, "
        "computed under no_grad, or all parameters are frozen."
    )


def shapes_of(batch: Any) -> Any:
    """Describe a batch by the shapes of its tensors."""
    if isinstance(batch, torch.Tensor):
        return list(batch.shape)
    if isinstance(batch, Mapping):
        return {key: shapes_of(value) for key, value in batch.items()}
    return [shapes_of(part) for part in batch] if isinstance(batch, list | tuple) else type(batch).__name__


def _where(trainer: "Trainer") -> str:
    step, training = trainer.state.global_step, trainer._training
    if trainer.is_evaluating:
        return f"in an evaluation or prediction at step {step}"
    return f"at step {step + 1}" + (
        "" if training is None or training.last_batch is None else f", with a batch of {shapes_of(training.last_batch)}"
    )


def _out_of_memory(trainer: "Trainer", error: BaseException) -> str:
    if not trainer.is_evaluating:
        advice = (
            f"a per_device_train_batch_size below {trainer.args.per_device_train_batch_size} with more "
            "gradient_accumulation_steps, bf16=True, or gradient_checkpointing=True"
        )
    else:
        advice = (
            f"a per_device_eval_batch_size below {trainer.args.per_device_eval_batch_size}, or "
            "eval_accumulation_steps, which moves predictions off the device"
        )
    return f"Out of memory {_where(trainer)}. Try {advice}. {error}"


def _dead_worker(trainer: "Trainer", error: BaseException) -> str:
    return (
        f"A process that loads data died {_where(trainer)}. It may have run out of memory (fewer "
        "dataloader_num_workers, or more shared memory: df -h /dev/shm). dataloader_num_workers=0 loads in this "
        f"process and shows what happens. {error}"
    )
