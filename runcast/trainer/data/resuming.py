"""What is left of a training when it is resumed, also with other batches or by another number of processes."""

import logging
import math
from pathlib import Path
from typing import Any

from runcast.trainer.data.epochs import Epochs
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

_log = logging.getLogger("runcast.trainer")


def plan_the_rest(
    data: Epochs,
    args: TrainingArguments,
    ranks: Ranks,
    planned: tuple[int, int],
    checkpoint: tuple[Path, dict[str, Any]],
) -> tuple[int, int]:
    """Return the number of all steps and of epochs; say what cannot be as in a training without an interruption.

    Where a step takes as many examples as before, the steps are those of the whole training. Otherwise the epochs that
    are left, or max_steps, are counted from the checkpoint's position in the data.
    """
    folder, manifest = checkpoint
    told, done = [], manifest.get("progress") or {}  # earlier versions did not note it
    (max_steps, epochs), batches = planned, data.batches_per_epoch
    if manifest["world_size"] != ranks.size:
        told.append(
            f"{folder} was written by {manifest['world_size']} process(es), and this job has {ranks.size}. The "
            f"data continues after the last example; random numbers, as for dropout and augmentation, differ."
        )
    before, after = done.get("examples_per_step"), data.examples_per_step
    if before is not None and after is not None and batches is not None and before != after:
        steps = math.ceil(batches / args.gradient_accumulation_steps)
        left_of_epoch = math.ceil(max(0, data.examples_per_epoch - done["examples"]) / after)
        gone = (done["epoch"] + 1) * steps - left_of_epoch
        if args.max_steps <= 0:
            max_steps = manifest["step"] + max(0, math.ceil(args.num_train_epochs * steps) - gone)
        left = max_steps - manifest["step"]
        epochs = max(math.ceil((gone + left) / steps), done["epoch"])
        told.append(
            f"{folder} was written with {before} examples a step, and this training takes {after}. It continues "
            f"after example {done['examples']} of epoch {done['epoch'] + 1}, with {left} steps left of {max_steps}."
        )
    if ranks.rank == 0:
        for message in told:
            _log.warning("%s", message)
    return max_steps, epochs
