"""What a failing training says: where it was, and what to try."""

import contextlib
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from runcast.trainer.settings.arguments import TrainingArguments
from runcast.values.numbers import a

_CPU_MEMORY = "can't allocate memory"  # what torch says on the CPU, as a mere RuntimeError
_WORKER = "DataLoader worker"


class OutOfMemoryError(torch.OutOfMemoryError):  # type: ignore[misc]
    """Memory ran out; the message says where, and what to try."""


class WorkerError(RuntimeError):
    """A process that loads data died; the message says where, and what to try."""


@contextlib.contextmanager
def explained(where: Callable[[], str], remedy: str) -> Iterator[None]:
    """Say where memory ran out or a worker died, and what to try; the innermost place counts. Others stay as they are.

    Args:
        where: Returns the place, when it is needed.
        remedy: What takes less memory.
    """
    try:
        yield
    except (OutOfMemoryError, WorkerError):
        raise
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, torch.OutOfMemoryError) or _CPU_MEMORY in str(error):
            raise OutOfMemoryError(f"Out of memory {where()}. Try {remedy}. {error}") from error
        if _WORKER in str(error) or (not isinstance(error, RuntimeError) and _is_of_workers(error)):
            raise WorkerError(
                f"A process that loads data died {where()}. It may have run out of memory (fewer "
                "dataloader_num_workers, or more shared memory: df -h /dev/shm). dataloader_num_workers=0 loads in "
                f"this process and shows what happens. {error}"
            ) from error
        raise


def _is_of_workers(error: BaseException) -> bool:
    """Return whether a connection broke on which a process hands over its tensors."""
    frames = traceback.walk_tb(error.__traceback__)
    return any("multiprocessing" in frame.f_code.co_filename for frame, _ in frames)


def remedy_of_training(args: TrainingArguments) -> str:
    """Return what makes a training take less memory."""
    return (
        f"a per_device_train_batch_size below {args.per_device_train_batch_size} with more "
        "gradient_accumulation_steps, bf16=True, or gradient_checkpointing=True"
    )


def remedy_of_evaluation(args: TrainingArguments) -> str:
    """Return what makes an evaluation take less memory."""
    return (
        f"a per_device_eval_batch_size below {args.per_device_eval_batch_size}, or eval_accumulation_steps, which "
        "moves predictions off the device"
    )


def no_loss(loss: Any) -> str:
    """Return what is wrong with what was to be minimised."""
    if loss is None:
        return (
            "The model returned no loss, and none could be computed. Give labels with each batch, "
            "or compute_loss=function(outputs, labels)."
        )
    if not isinstance(loss, torch.Tensor):
        return (
            f"The loss is {a(type(loss))}, but must be a tensor. A compute_loss returns it alone, and with what the "
            "model returned only if return_outputs=True."
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
