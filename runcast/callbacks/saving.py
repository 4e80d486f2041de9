"""A callback that says when to save, and which checkpoints to keep."""

import contextlib
import math
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from runcast.callbacks.host import is_transformers, recall, remember
from runcast.callbacks.monitor import Monitor, needs_evaluation
from runcast.core.errors import OptionError
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState
from runcast.run.ranks import joined_job


class ModelCheckpointCallback(TrainerCallback):
    """A callback that saves checkpoints at its own times and keeps the best and the last, with links `best` and `last`.

    Args:
        every_steps: Save each so many steps.
        every_epochs: Save each so many epochs.
        every_minutes: Save when so many minutes have passed since the last save. Several processes go by the clock of
            the first; under transformers, they look at it when they log.
        top_k: Save after each evaluation that is among the best so many, and delete the checkpoints that no longer are;
            the last one stays, and the one that the arguments call best.
        metric: The metric of top_k; by default metric_for_best_model, else the loss.
        greater_is_better: Its direction; by default the arguments', else as the name says.
        on_exception: Save when the training raises or is interrupted (our Trainer only). Resuming continues after the
            last whole step, but with other random numbers than an uninterrupted training.
    """

    def __init__(
        self,
        *,
        every_steps: int | None = None,
        every_epochs: int | None = None,
        every_minutes: float | None = None,
        top_k: int | None = None,
        metric: str | None = None,
        greater_is_better: bool | None = None,
        on_exception: bool = False,
    ) -> None:
        intervals = {"every_steps": every_steps, "every_epochs": every_epochs, "every_minutes": every_minutes}
        for name, value in {**intervals, "top_k": top_k}.items():
            if value is not None and value <= 0:
                raise OptionError(f"{name}={value} must be positive.")
        self.scores: dict[str, float] = {}
        self._every_steps, self._every_epochs = every_steps, every_epochs
        self._every_s = every_minutes and every_minutes * 60
        self._top_k, self._saves_on_exception = top_k, on_exception
        self._monitor = Monitor(metric, greater_is_better)
        self._saved_at = 0.0
        self._unsaved: str | None = None  # the step of a score whose checkpoint is not yet written
        self._args: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock, check that there is something to rank by."""
        self._saved_at, self._args, self._unsaved = time.monotonic(), args, None
        if state.global_step == 0:
            self.scores = {}
        else:
            recall(self, state, self._monitor.name(args))
        if self._top_k is not None:
            needs_evaluation(args, "ModelCheckpointCallback(top_k=…)")

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Save, if it is time to."""
        if self._every_steps and state.global_step % self._every_steps == 0:
            control.should_save = True
        leads = _processes() == 1 or (state.is_world_process_zero and not is_transformers(state))
        if self._every_s is not None and leads and self._is_time:  # in our Trainer, what one process decides all do
            control.should_save = True
            self._saved_at = time.monotonic()  # of one that is written in the background, on_save comes later
        return control

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> Control:
        """Under transformers, save if it is time to for all processes: they are together here."""
        if self._every_s is None or not is_transformers(state):
            return control
        if _processes() > 1 and _of_first_process(self._is_time, model):
            control.should_save = True
        return control

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Save, if this epoch is one to save at."""
        epoch = round(state.epoch)
        if self._every_epochs and epoch % self._every_epochs == 0 and math.isclose(state.epoch, epoch, abs_tol=1e-6):
            control.should_save = True
        return control

    def on_evaluate(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: dict[str, Any], **kwargs: Any
    ) -> Control:
        """Save, if this is one of the best so far."""
        if self._top_k is not None and state.global_step and self._monitor.concerns(args, metrics):
            value = self._monitor.value(args, metrics)
            self._drop_unsaved()
            ranked = self._ranked()
            beaten = self.scores[ranked[self._top_k - 1]] if len(ranked) >= self._top_k else None
            if value is not None and self._monitor.is_better(args, value, beaten):
                self._unsaved = str(state.global_step)
                self.scores[self._unsaved] = value
                control.should_save = True
                remember(self, state, self._monitor.name(args))
        return control

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Set the links, and delete checkpoints that are no longer among the best."""
        self._saved_at = time.monotonic()
        if self._unsaved != str(state.global_step):
            self._drop_unsaved()
        self._unsaved = None
        if not state.is_world_process_zero:
            return
        root, step = Path(args.output_dir), str(state.global_step)
        _link(root / "last", f"checkpoint-{step}")
        if self._top_k is None:
            return
        self.scores = {step: score for step, score in self.scores.items() if (root / f"checkpoint-{step}").is_dir()}
        ranked = self._ranked()
        _link(root / "best", f"checkpoint-{ranked[0]}" if ranked else None)
        best = Path(state.best_model_checkpoint or "").name
        for loser in ranked[self._top_k :]:
            if loser != step and f"checkpoint-{loser}" != best:
                del self.scores[loser]
                shutil.rmtree(root / f"checkpoint-{loser}", ignore_errors=True)

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> Control:
        """Ask for a last checkpoint."""
        if self._saves_on_exception and state.global_step > 0:
            control.should_save = True
        return control

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the scores by step."""
        return {"args": {}, "attributes": {"scores": dict(self.scores)}}

    def _drop_unsaved(self) -> None:
        """Forget the score of a checkpoint that was asked for and not written; an earlier training's may lie there."""
        if self._unsaved is not None:
            self.scores.pop(self._unsaved, None)
            self._unsaved = None

    @property
    def _is_time(self) -> bool:
        return self._every_s is not None and time.monotonic() - self._saved_at >= self._every_s

    def _ranked(self) -> list[str]:
        sign = -1 if self._monitor.wants_more(self._args) else 1
        numbers = [step for step, score in self.scores.items() if math.isfinite(score)]  # 0.1 kept others too
        return sorted(numbers, key=lambda step: sign * self.scores[step])


def _link(path: Path, target: str | None) -> None:
    """Point a link at a checkpoint beside it, where the file system has links."""
    if target is None:
        return
    if path.exists() and not path.is_symlink():
        return  # another program's file or folder
    with contextlib.suppress(OSError):
        fresh = path.with_name(f".{path.name}.link")
        fresh.unlink(missing_ok=True)
        os.symlink(target, fresh)
        os.replace(fresh, path)


def _processes() -> int:
    distributed = joined_job()
    return 1 if distributed is None else int(distributed.get_world_size())


def _of_first_process(answer: bool, model: Any) -> bool:
    """Return the answer of the first process in all of them."""
    torch = sys.modules["torch"]
    shared = torch.tensor([answer], dtype=torch.uint8, device=next(model.parameters()).device)
    torch.distributed.broadcast(shared, 0)
    return bool(shared.item())
