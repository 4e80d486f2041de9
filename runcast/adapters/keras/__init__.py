"""Keras 3, with any of its backends: a callback that reports `fit` and `evaluate` to every tracker.

`MetricCallback` is in `metric.py`, `PushToHubCallback` in `hub.py`; both may be imported from here.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import keras

from runcast.adapters.keras.hub import PushToHubCallback
from runcast.adapters.keras.metric import MetricCallback
from runcast.adapters.keras.params import params_of
from runcast.adapters.keras.steps import OptimizerSteps
from runcast.core.errors import OptionError
from runcast.core.foreign import attempt, described
from runcast.journal.paths import absolute
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack
from runcast.run.ranks import rank
from runcast.run.run import Run

__all__ = ["MetricCallback", "PushToHubCallback", "RuncastCallback"]

RUN_ID = "runcast-run-id"  # the file in the folder of BackupAndRestore, which deletes it when the training is over


class RuncastCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """The report of a `fit`, and of evaluations after it, to every tracker, as one run.

    `loss` is logged as `train/loss`, `val_loss` as `val/loss`, what `evaluate` returns as `eval/loss`; the step is the
    number of optimizer steps. A second `fit`, or an `evaluate` with this callback, continues the same run; one that
    another callback calls during a `fit` is part of it. Of copies that were made before any training, as a tuner makes
    one for each trial, each has a run of its own.

    Keras does not inform callbacks of exceptions. If an exception ends the script, the run is "failed"; after an
    interrupt it is "killed". If the script catches the exception, the run becomes "failed" at the next `fit` or
    `evaluate`, or when the script ends. To know it at once, use the callback as a context manager around `fit`.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        every_steps: Log the metrics of the batches every so many optimizer steps, or at the next one that Keras tells
            of; 0 for those of the epochs only.
        log_model: Keep the "best" model, the "last" one or "all" of these as artifacts.
        monitor: What the best model is best in; by default `val_loss`, without validation `loss`.
        mode: "min", "max" or "auto", as in `keras.callbacks.ModelCheckpoint`.
        backup_dir: The folder of a `keras.callbacks.BackupAndRestore` before this in the list: a training that is
            resumed from it continues its run.
        log_dir: The folder that holds the runs, as `keras.callbacks.TensorBoard` calls `dir`.
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`.

    Raises:
        OptionError: An option is wrong or unknown, or a tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    def __init__(
        self,
        report_to: Any = ...,
        *,
        run: Run | None = None,
        every_steps: int | None = 10,
        log_model: Literal["best", "last", "all"] | None = None,
        monitor: str | None = None,
        mode: str = "auto",
        backup_dir: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        project: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        super().__init__()
        if log_model not in (None, "best", "last", "all"):
            raise OptionError(f"log_model={log_model!r} is unknown. Valid values are: None, 'best', 'last', 'all'.")
        if mode not in ("min", "max", "auto"):
            raise OptionError(f"mode={mode!r} is unknown. Valid values are: 'min', 'max', 'auto'.")
        if every_steps is not None and not (hasattr(type(every_steps), "__index__") and every_steps >= 0):
            raise OptionError(f"every_steps={every_steps!r} must be a number of optimizer steps; 0 is epochs only.")
        self._lasting = LastingRun(report_to, run, root=log_dir, project=project, **options)
        self._every, self._log_model = every_steps or 0, log_model
        self._monitor, self._mode = monitor, mode
        self._run_id = absolute(backup_dir) / RUN_ID if backup_dir else None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._best: Any = None
        self._fits, self._is_inside, self._is_by_hand, self._has_architecture = 0, False, False, False
        self._outer: Any = None  # the model and the params of the outermost fit, while it runs
        self._steps = OptimizerSteps(self)
        self._begun = 0  # how many trainings of the run this knows of; a copy may have begun others
        self._logged: tuple[int, Mapping[str, Any]] = (-1, {})

    @property
    def run(self) -> Run | None:
        """The run, from the first `fit` on."""
        return self._lasting.run

    def set_params(self, params: Any) -> None:
        """Begin a `fit`, an `evaluate` or a `predict`: inside a `fit`, or perhaps after one that has failed."""
        super().set_params(params)
        if self._fits and (self._is_by_hand or _fits_around(self)):
            self._is_inside = True
        elif self._fits:
            self._fail()

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the run and log the configuration."""
        around = _fits_around(self)
        if self._fits and around == 1:
            self._fail()
        if self._begun != self._lasting.begun:
            self._lasting = self._lasting.another()
        if self._run_id is not None and self._run_id.exists():
            self._lasting.id = self._run_id.read_text(encoding="utf-8")
        run = self._lasting.begin()
        self._begun = self._lasting.begun
        self._fits, self._is_inside = self._fits + 1, False
        if self._fits == 1:
            self._outer, self._is_by_hand = (self.model, self.params), not around
        run.log_params(params_of(self.model, self.params))
        self._keep_architecture(run)
        self._steps.begin_epoch()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Find the optimizer's count, which a resumed or earlier training has advanced."""
        self._leave()
        self._steps.begin_epoch((self.params or {}).get("steps"))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of a batch when it completes one of the optimizer steps that are logged."""
        self._leave()
        if self._steps.advance(batch, self._every):
            self._log(logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of the epoch and of its validation, and keep the best model."""
        self._steps.check()
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        about = {"epoch": epoch + 1} | ({} if rate is None else {"learning_rate": getattr(rate, "value", rate)})
        self._log({**about, **(logs or {})})
        if self._log_model in ("best", "all") and rank() == 0:
            self._guarded("model-best", lambda: self._keep_best(epoch, logs or {}))
        if self._run_id is not None and self._run_id.parent.is_dir() and rank() == 0:
            self._run_id.write_text(self._lasting.open().id, encoding="utf-8")

    def on_train_end(self, logs: Any = None) -> None:
        """Keep the last model and finish the run, unless this `fit` is inside another one."""
        self._steps.check()
        if self._log_model in ("last", "all") and rank() == 0:
            self._guarded("model-last", self._keep_last)
        self._fits -= 1
        if self._fits > 0:
            self._is_inside = True
            self._leave()
        else:
            self._fits, self._outer = 0, None
            self._lasting.end()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log the results of an `evaluate`, unless it is the validation of a `fit`, which logs them itself."""
        if self._fits and not self._is_inside:
            return
        if not self._fits:
            self._steps.begin_epoch()
        values = {_named(key, "eval"): value for key, value in (logs or {}).items()}
        self._lasting.open().log(values, step=self._steps.step)
        self._leave()
        if not self._fits:
            self._lasting.end()

    def on_predict_end(self, logs: Any = None) -> None:
        """Go back to the `fit` that this prediction may be inside of."""
        self._leave()

    def _leave(self) -> None:
        """Go back to the `fit` that something else was inside of, if that is over or was broken off."""
        if self._fits and self._is_inside and self._outer is not None:
            self._is_inside = False
            model, params = self._outer
            self.set_model(model)
            super().set_params(params)

    def _fail(self) -> None:
        """Note that an exception has ended the `fit` that was under way."""
        self._fits, self._outer = 0, None
        self._lasting.abandon()

    def __enter__(self) -> "RuncastCallback":
        self._lasting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fits = 0
        self._lasting.__exit__(kind, error, trace)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folder": None, "_best": None}

    def _guarded(self, name: str, keep: Callable[[], object]) -> None:
        """Keep a model; one that Keras cannot save is counted and reported, and training continues."""
        run = self._lasting.open()
        attempt(keep, lambda error: run._drop(name, f"is a model that could not be saved ({described(error)})"))

    def _keep_last(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "last.keras"
            self.model.save(path)
            self._lasting.open().log_artifact(path, name="model-last", type="model")

    def _keep_best(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Let Keras compare and save, into a folder of ours, and keep the saved model."""
        if self._best is None:
            self._folder = tempfile.TemporaryDirectory()
            monitor = self._monitor or ("val_loss" if "val_loss" in logs else "loss")
            path = Path(self._folder.name) / "best.keras"
            self._best = keras.callbacks.ModelCheckpoint(path, monitor=monitor, mode=self._mode, save_best_only=True)
        self._best.set_model(self.model)
        self._best.on_epoch_end(epoch, logs)
        if (path := Path(self._best.filepath)).exists():
            self._lasting.open().log_artifact(path, name="model-best", type="model")
            path.unlink()

    def _keep_architecture(self, run: Run) -> None:
        if not self._has_architecture and rank() == 0:
            self._has_architecture = True
            text = attempt(lambda: self.model.to_json(indent=2), lambda _: None)  # a layer may have no get_config
            if text is not None:
                run._keep(text.encode(), "model.json", "config")

    def _log(self, logs: Mapping[str, Any]) -> None:
        """Log values, except for those that the last batch of an epoch has already logged at this step."""
        values = {_named(key, "train"): value for key, value in logs.items()}
        step, said = self._logged
        if step == self._steps.step:
            values = {key: value for key, value in values.items() if key not in said or not _is_same(said[key], value)}
        self._logged = (self._steps.step, values)
        self._lasting.open().log(values, step=self._steps.step)


def _is_same(a: Any, b: Any) -> bool:
    """Return whether two values are equal or both NaN; arrays, which a metric of each class has, are not."""
    return attempt(lambda: bool(a == b or (a != a and b != b)), lambda _: False)


def _fits_around(callback: RuncastCallback) -> int:
    """Count the calls of `fit` with this callback that are under way; a loop by hand is none."""
    found = 0
    frame = sys._getframe(1).f_back
    while frame is not None:
        if frame.f_code.co_name == "fit":
            found += callback in getattr(frame.f_locals.get("callbacks"), "callbacks", ())
        frame = frame.f_back
    return found


def _named(key: str, folder: str) -> str:
    """Put a metric into its folder: `val_loss` is val/loss, `loss` train/loss or eval/loss, `my/own` stays."""
    key = str(key)
    if "/" in key:
        return key
    return f"val/{key[4:]}" if key.startswith("val_") else f"{folder}/{key}"
