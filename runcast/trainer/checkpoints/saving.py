"""When a training is saved: as the callbacks ask, after a failure, and when SIGTERM came."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from runcast.core.errors import OptionError
from runcast.core.events import TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler
from runcast.redaction.console import say
from runcast.trainer.checkpoints.checkpoints import Checkpoints, Save
from runcast.trainer.checkpoints.snapshot import save_training
from runcast.trainer.checkpoints.staging import stager
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.session import keeping
from runcast.trainer.termination import EXIT_CODE
from runcast.trainer.training import Training

_log = logging.getLogger("runcast.trainer")


class Saving:
    """The saving of one training: at once or, with async_save, in the background, one checkpoint at a time.

    Args:
        training: What is saved.
        checkpoints: Where to.
        callbacks: Their states are saved.
        processing_class: A tokenizer or image processor, saved with the model.
        control: The switches.
        on_save: Called when a checkpoint is on disk, with the state that it holds as `state`.
        save_model: Writes the weights to a folder, in every process; None where it is to be done here.

    Raises:
        OptionError: There is a `save_model`, which reads the model, and it is to be written in the background.
    """

    def __init__(
        self,
        training: Training,
        checkpoints: Checkpoints,
        callbacks: CallbackHandler,
        processing_class: Any,
        control: TrainerControl,
        on_save: Callable[..., None],
        save_model: Callable[..., object] | None = None,
    ) -> None:
        self._training, self._checkpoints, self._control = training, checkpoints, control
        self._callbacks, self._processing_class, self._on_save = callbacks, processing_class, on_save
        self._ranks, self._save_model = training.engine.ranks, save_model
        self._pending: tuple[Save, TrainerState] | None = None
        self._stage: Callable[[Any], Any] | None = None
        if training.args.async_save:
            if save_model is not None:
                raise OptionError("async_save=True cannot save with an overridden save_model. Leave one of them out.")
            self._stage, self._ranks = stager(training.engine.device), training.engine.ranks.apart()

    @property
    def is_pending(self) -> bool:
        """Whether a checkpoint was begun and not announced, the same in every process."""
        return self._pending is not None

    @property
    def is_writing(self) -> bool:
        """Whether this process is still writing it."""
        return self._pending is not None and not self._pending[0].future.done()

    def save(self) -> None:
        """Write a checkpoint of the step, or begin to. All processes of the job call it."""
        self.wait()
        self._write(self._ranks, self._stage)
        if self._stage is not None:
            self._control.should_save = False

    def wait(self) -> None:
        """Wait for the checkpoint that is being written, if there is one, and announce it: all processes together."""
        with keeping(self._control, "should_save"):
            self._end()

    def break_off(self) -> None:
        """Wait for it after a failure, which is what is raised, whatever happens here. Each process is by itself."""
        try:
            self._end(is_announced=not self._training.engine.is_sharded or self._ranks.size == 1)
        except Exception:  # noqa: BLE001 - the failure is the reason, and this one is told
            _log.exception("The checkpoint that was being written when the training failed is not complete.")

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
        self._ranks.alone(f"saved/{number}", lambda: self._write(Ranks()))

    def leave(self) -> NoReturn:
        """Save, unless the last step is saved already, and end the process as SIGTERM wants."""
        self.wait()
        if not self._is_saved:
            self._write(self._ranks)
        if self._training.state.is_world_process_zero:
            how = "Continue it with resume_from_checkpoint='last'." if self._is_saved else "It could not be saved."
            say(f"SIGTERM: the training stopped at step {self._training.state.global_step}. {how}")
        raise SystemExit(EXIT_CODE) from None

    @property
    def _is_saved(self) -> bool:
        return self._training.saved_step == self._training.state.global_step

    def _write(self, ranks: Ranks, stage: Callable[[Any], Any] | None = None) -> None:
        training, checkpoints, state = self._training, self._checkpoints, self._training.state
        if ranks.size == self._ranks.size:
            training.reduce()

        def write(folder: Path) -> Iterator[None]:
            best = checkpoints.best_saved
            return save_training(
                training, folder, ranks, self._callbacks, self._processing_class, best, self._save_model, stage
            )

        save = checkpoints.begin_save(state, write, ranks, in_thread=stage is not None)
        self._pending = save, state if stage is None else replace(state, log_history=[*state.log_history])
        if stage is None:
            self._end()

    def _end(self, *, is_announced: bool = True) -> None:
        if self._pending is None:
            return
        save, state = self._pending
        try:
            is_there = self._checkpoints.end_save(self._training.state, save)
        finally:
            if save.future.done():  # not so where the waiting was interrupted
                self._pending = None
        if is_there:
            self._training.saved_step = state.global_step
            if is_announced:
                self._on_save(state=state)
