"""The checkpoints of a Trainer: written, found and deleted; and which one is best."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from torch import nn

from runcast.callbacks.monitor import Monitor, reported
from runcast.core.errors import CheckpointError, OptionError
from runcast.core.events import TrainerState
from runcast.trainer.checkpoints.files import Checkpoint, list_checkpoints, make_root, rotate, verify, writing
from runcast.trainer.checkpoints.staging import run
from runcast.trainer.checkpoints.weights import load_weights
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

T = TypeVar("T")
_log = logging.getLogger("runcast.trainer")


class Save(NamedTuple):
    """A save under way: all that are written, itself the last; what was best before; and what ends with it."""

    written: list[Path]
    older: tuple[str | None, float | None]
    future: "Future[None]"


class Checkpoints:
    """The checkpoints in `args.output_dir`.

    `best_saved` is the value of metric_for_best_model at the best checkpoint, for the next one to be compared with.
    """

    def __init__(self, args: TrainingArguments, ranks: Ranks) -> None:
        self._args, self._ranks = args, ranks
        self._monitor = Monitor()
        self._written: list[Path] = []  # by this process, the oldest first
        self._evaluated: tuple[int, float | None] = (-1, None)  # the last evaluation: its step and value
        self.best_saved: float | None = None

    @property
    def _root(self) -> Path:
        return Path(self._args.output_dir)

    def _target(self, state: TrainerState) -> Path:
        return self._root / f"checkpoint-{state.global_step}"

    def begin(self, state: TrainerState, best_saved: float | None) -> None:
        """Forget an earlier training of the same Trainer, or continue with the best checkpoint of an earlier session.

        Args:
            state: The state of the training, in which the path of the best one is corrected if it was moved.
            best_saved: Its value, from the checkpoint that the training is resumed from.

        Raises:
            OptionError: No checkpoint could be written, or load_best_model_at_end is set and none before the last would
                be evaluated.
        """
        args = self._args
        if args.save_strategy != "no" and self._ranks.rank == 0:
            make_root(self._root)
        best, self._evaluated = state.best_model_checkpoint, (-1, None)
        if best is not None and not Path(best).is_dir():  # the whole folder may have been moved
            moved = self._root / Path(best).name
            state.best_model_checkpoint = str(moved) if moved.is_dir() else None
        state.best_model_checkpoint = self._ranks.of_first(state.best_model_checkpoint)
        self.best_saved = best_saved if state.best_model_checkpoint is not None else None
        if not args.load_best_model_at_end or args.save_strategy != "steps":
            return
        assert args.eval_steps is not None
        if args.save_steps < 1 and args.eval_steps < 1:  # one is a multiple of the other: rounding keeps it so
            state.save_steps = round(args.save_steps / args.eval_steps) * state.eval_steps
        elif state.save_steps < state.max_steps and state.save_steps % state.eval_steps:
            raise OptionError(
                f"load_best_model_at_end needs a checkpoint at an evaluation, but of {state.max_steps} steps "
                f"save_steps={args.save_steps!r} means every {state.save_steps} and eval_steps={args.eval_steps!r} "
                f"every {state.eval_steps}. Make save_steps a multiple of eval_steps."
            )

    def begin_save(
        self, state: TrainerState, write: Callable[[Path], Iterator[None]], ranks: Ranks, *, in_thread: bool
    ) -> Save:
        """Write a checkpoint, or begin to: `end_save` has to follow before anything else is asked of the checkpoints.

        Args:
            state: The state of the training, which learns whether the checkpoint is the best one.
            write: Writes everything to a folder, and yields once.
            ranks: The processes that write; `Ranks()` where one writes a checkpoint by itself.
            in_thread: Whether a thread does what comes after the yield.
        """
        target, older = self._target(state), (state.best_model_checkpoint, self.best_saved)
        self._note_if_best_saved(state, target)
        written, best = [*(path for path in self._written if path != target), target], state.best_model_checkpoint

        def steps() -> Iterator[None]:
            with writing(target, ranks) as folder:
                yield from write(folder)
            if ranks.rank == 0:
                rotate(self._root, self._args.save_total_limit, written, best)

        return Save(written, older, run(steps(), in_thread=in_thread))

    def end_save(self, state: TrainerState, save: Save) -> bool:
        """Wait until a checkpoint is written and older ones above the limit are deleted; return whether it is there.

        What cannot be written costs a message, not the training.
        """
        try:
            save.future.result()
        except OSError as error:
            _log.error(
                "The checkpoint %s was not written: %s. The older ones are unchanged, and training continues.",
                save.written[-1],
                error,
            )
            state.best_model_checkpoint, self.best_saved = save.older
            return False
        self._written = save.written
        return True

    def note_if_best(self, state: TrainerState, metrics: Mapping[str, Any]) -> bool:
        """Note in the state whether an evaluation is the best so far; return whether it is to be saved for that.

        Raises:
            OptionError: The evaluation has no `metric_for_best_model`.
        """
        args, name, is_best = self._args, self._args.metric_for_best_model, False
        if name is None:
            return False
        if reported(name, metrics) is None and self._evaluated[0] < 0 and state.best_metric is None:
            key = name if name.startswith("eval_") else f"eval_{name}"
            raise OptionError(
                f"metric_for_best_model={name!r}, but the evaluation has no {key!r}. It has: "
                f"{', '.join(sorted(metrics))}."
            )
        value = self._monitor.value(args, metrics)
        self._evaluated = state.global_step, value
        if self._monitor.is_better(args, value, state.best_metric):
            state.best_metric, state.best_global_step, is_best = value, state.global_step, True
        if self._written[-1:] == [self._target(state)]:  # saved at its last step, then evaluated at the epoch's end
            self._note_if_best_saved(state, self._target(state))
        return is_best and args.save_strategy == "best"

    def _note_if_best_saved(self, state: TrainerState, checkpoint: Path) -> None:
        """Take a checkpoint for the best one, if the evaluation at its step is better than that of the best so far."""
        step, value = self._evaluated
        is_new = state.best_model_checkpoint is None or Path(state.best_model_checkpoint) == checkpoint
        if step == state.global_step and self._monitor.is_better(
            self._args, value, None if is_new else self.best_saved
        ):
            state.best_model_checkpoint, self.best_saved = str(checkpoint), value

    def load_best(self, state: TrainerState, model: nn.Module) -> None:
        """Load the weights of the best checkpoint, if there is one."""
        best = state.best_model_checkpoint
        is_there = self._ranks.of_first(best is not None and Path(best).is_dir())
        if best is None or not is_there:
            why = "no evaluation was saved" if best is None else f"{best} is no longer there"
            _log.warning("There is no best checkpoint to load: %s. The model keeps its last weights.", why)
            return
        if self.best_saved != state.best_metric:
            _log.warning(
                "The best evaluation was at step %s (%s), where no checkpoint was saved. The best saved one is loaded: "
                "%s (%s).",
                state.best_global_step,
                state.best_metric,
                best,
                self.best_saved,
            )
        folder, manifest = self._checked(lambda: Checkpoint(Path(best), verify(Path(best))))
        load_weights(model, folder, manifest["shapes"])

    def find(self, wanted: str | os.PathLike[str] | bool | None) -> Checkpoint | None:
        """Settle which checkpoint is meant: a folder, or with True and "last" the newest whole one.

        The first process looks, and reads every file once; what it finds is what all of them take.

        Raises:
            CheckpointError: It is damaged or foreign; or True, and there is none.
        """
        if wanted is None or wanted is False:
            return None
        return self._checked(lambda: self._find(wanted))

    def _checked(self, look: Callable[[], T]) -> T:
        ranks = self._ranks
        found: T = ranks.of_first(ranks.together(lambda: look() if ranks.rank == 0 else None))
        return found

    def _find(self, wanted: str | os.PathLike[str] | Literal[True]) -> Checkpoint | None:
        if wanted is not True and wanted != "last":
            return Checkpoint(Path(wanted), verify(Path(wanted)))
        for folder in reversed(list_checkpoints(self._root)):
            try:
                return Checkpoint(folder, verify(folder))
            except CheckpointError as error:
                _log.warning("%s It is passed over.", error)
        if wanted is True:
            raise CheckpointError(
                f"There is no complete checkpoint in {self._root} to resume from. With 'last', the training would "
                f"start from scratch."
            )
        return None
