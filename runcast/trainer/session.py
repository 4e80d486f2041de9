"""One call of the Trainer, from its beginning to its end; above all, what is done when it raises."""

import contextlib
import itertools
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from runcast.core.errors import RankError
from runcast.redaction.console import say
from runcast.trainer.failures import explained
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.ranks.sharding import is_sharded
from runcast.trainer.termination import EXIT_CODE, Leaving

if TYPE_CHECKING:
    from runcast.trainer.trainer import Trainer

_NUMBERS = itertools.count(1)  # every process of a job makes the same calls
_log = logging.getLogger("runcast.trainer")


@contextlib.contextmanager
def session(trainer: "Trainer") -> Iterator[None]:
    """Tell the callbacks about an exception, and in any case about the end, of the outermost call."""
    if trainer.is_inside:
        yield
        return
    trainer.is_inside, number = True, next(_NUMBERS)
    try:
        with leaving(trainer):
            yield
    except BaseException as caught:
        error = explained(trainer, caught)
        if (other := trainer.ranks.failure(error, number)) is not None:
            error = RankError(other)
        trainer.control.should_save = False
        trainer.event("on_exception", exception=error)
        if trainer.control.should_save:
            _save_last(trainer, number)
        if error is not caught:
            raise error from caught
        raise
    finally:
        try:
            trainer.event("teardown")
        finally:
            trainer.is_inside = trainer.is_evaluating = False
            trainer._training = None


@contextlib.contextmanager
def leaving(trainer: "Trainer") -> Iterator[None]:
    """If SIGTERM came, save, unless the last step is saved already, and end the process as the signal wants."""
    try:
        yield
    except Leaving:
        training, step, trainer.is_evaluating = trainer._training, trainer.state.global_step, False
        assert training is not None  # the signal is taken while a training lasts
        if step != training.saved_step and trainer.keeper.save(training):
            trainer.event("on_save")
        if trainer.state.is_world_process_zero:
            is_saved = training.saved_step == step
            how = "Continue it with resume_from_checkpoint='last'." if is_saved else "It could not be saved."
            say(f"SIGTERM: the training stopped at step {step}. {how}")
        raise SystemExit(EXIT_CODE) from None


def _save_last(trainer: "Trainer", number: int) -> None:
    """Save the last whole step, unless it is saved already.

    The other processes may be anywhere, so one writes the checkpoint: the first that comes here.
    """
    training, ranks = trainer._training, trainer.ranks
    if training is None or training.saved_step == trainer.state.global_step:
        return
    if is_sharded(trainer.model) and ranks.size > 1:
        _log.warning("No last checkpoint is saved: each process has its part of the model only.")
        return

    def save() -> None:
        if trainer.keeper.save(training, None if ranks.size == 1 else Ranks()):
            trainer.event("on_save")

    ranks.alone(f"saved/{number}", save)
