"""Keeps the checkpoints of a Trainer: writes, finds and deletes them, and knows which one is best."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from runcast.core.errors import CheckpointError, OptionError
from runcast.trainer.checkpoint import list_checkpoints, rotate, verify, writing
from runcast.trainer.snapshot import load_weights, save_training

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer
    from runcast.trainer.training import Training

_log = logging.getLogger("runcast.trainer")


class Keeper:
    """Keeps the checkpoints in `args.output_dir`."""

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer

    @property
    def _root(self) -> Path:
        return Path(self._trainer.args.output_dir)

    def save(self, training: "Training") -> bool:
        """Write a checkpoint; return whether it is there. What cannot be written costs a message, not the training."""
        trainer, state = self._trainer, self._trainer.state
        target = self._root / f"checkpoint-{state.global_step}"
        training.settle()
        older = state.best_model_checkpoint
        if state.best_global_step == state.global_step:
            state.best_model_checkpoint = str(target)
        try:
            with writing(target, trainer.ranks) as folder:
                save_training(training, folder)
        except OSError as error:
            _log.error(
                "The checkpoint %s was not written: %s. The older ones are as they were, and the training goes on.",
                target,
                error,
            )
            state.best_model_checkpoint = older
            return False
        if trainer.ranks.rank == 0:
            rotate(self._root, trainer.args.save_total_limit, state.best_model_checkpoint)
        return True

    def judge(self, metrics: dict[str, float]) -> None:
        """Remember whether an evaluation is the best so far, by `metric_for_best_model`.

        Raises:
            OptionError: The evaluation has no such metric.
        """
        trainer, state, name = self._trainer, self._trainer.state, self._trainer.args.metric_for_best_model
        if name is None:
            return
        key = name if name.startswith("eval_") else f"eval_{name}"
        if key not in metrics:
            raise OptionError(
                f"metric_for_best_model={name!r}, but the evaluation has no {key!r}. It has: "
                f"{', '.join(sorted(metrics))}."
            )
        value, best = metrics[key], state.best_metric
        is_best = value == value and (
            best is None or (value > best if trainer.args.greater_is_better else value < best)
        )
        if is_best:
            state.best_metric, state.best_global_step = value, state.global_step
        if trainer.args.save_strategy == "best":
            trainer.control.should_save = is_best

    def load_best(self) -> None:
        """Load the weights of the best checkpoint, if there is one."""
        best = self._trainer.state.best_model_checkpoint
        if best is None:
            _log.warning(
                "There is no best checkpoint to load: no evaluation was saved. The model keeps its last weights."
            )
            return
        load_weights(self._trainer.model, Path(best), verify(Path(best))["shapes"])

    def find(self, wanted: str | os.PathLike[str] | bool | None) -> Path | None:
        """Settle which checkpoint is meant: a folder, or with True and "last" the newest whole one.

        Raises:
            CheckpointError: True, and there is none.
        """
        if wanted is None or wanted is False:
            return None
        if wanted is not True and wanted != "last":
            return Path(wanted)
        for checkpoint in reversed(list_checkpoints(self._root)):
            try:
                verify(checkpoint)
            except CheckpointError as error:
                _log.warning("%s It is passed over.", error)
            else:
                return checkpoint
        if wanted is True:
            raise CheckpointError(
                f"There is no whole checkpoint in {self._root} to resume from. With 'last', the training begins anew "
                "then."
            )
        return None
