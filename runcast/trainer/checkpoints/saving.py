"""When a training is saved: as the callbacks ask, after a failure, and when SIGTERM came."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from runcast.core.handler import CallbackHandler
from runcast.redaction.console import say
from runcast.trainer.checkpoints.checkpoints import Checkpoints
from runcast.trainer.checkpoints.snapshot import save_training
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.termination import EXIT_CODE
from runcast.trainer.training import Training

_log = logging.getLogger("runcast.trainer")


class Saving:
    """The saving of one training; `on_save` announces each checkpoint but those that the loop asks for.

    Args:
        training: What is saved.
        checkpoints: Where to.
        callbacks: Their states are saved.
        processing_class: A tokenizer or image processor, saved with the model.
        on_save: Called without arguments when a checkpoint is on disk.
        save_model: Writes the weights to a folder, in every process; None where it is to be done here.
    """

    def __init__(
        self,
        training: Training,
        checkpoints: Checkpoints,
        callbacks: CallbackHandler,
        processing_class: Any,
        on_save: Callable[[], None],
        save_model: Callable[..., object] | None = None,
    ) -> None:
        self._training, self._checkpoints = training, checkpoints
        self._callbacks, self._processing_class, self._on_save = callbacks, processing_class, on_save
        self._ranks, self._save_model = training.engine.ranks, save_model

    def save(self) -> bool:
        """Write a checkpoint of the step; return whether it is there. All processes of the job call it."""
        self._training.reduce()
        return self._write(self._ranks)

    def save_last(self, number: int) -> None:
        """Save the last whole step after a failure, unless it is saved already.

        The other processes may be anywhere, so one writes the checkpoint: the first that comes here. `number` is that
        of the session.
        """
        if self._is_saved:
            return
        if self._training.engine.is_sharded and self._ranks.size > 1:
            _log.warning("No last checkpoint is saved: each process has its part of the model only.")
            return

        def save() -> None:
            if self.save() if self._ranks.size == 1 else self._write(Ranks()):
                self._on_save()

        self._ranks.alone(f"saved/{number}", save)

    def leave(self) -> NoReturn:
        """Save, unless the last step is saved already, and end the process as SIGTERM wants."""
        if not self._is_saved and self.save():
            self._on_save()
        if self._training.state.is_world_process_zero:
            how = "Continue it with resume_from_checkpoint='last'." if self._is_saved else "It could not be saved."
            say(f"SIGTERM: the training stopped at step {self._training.state.global_step}. {how}")
        raise SystemExit(EXIT_CODE) from None

    @property
    def _is_saved(self) -> bool:
        return self._training.saved_step == self._training.state.global_step

    def _write(self, ranks: Ranks) -> bool:
        training, checkpoints = self._training, self._checkpoints

        def write(folder: Path) -> None:
            best = checkpoints.best_saved
            save_training(training, folder, ranks, self._callbacks, self._processing_class, best, self._save_model)

        is_there = checkpoints.save(training.state, write, ranks)
        if is_there:
            training.saved_step = training.state.global_step
        return is_there
