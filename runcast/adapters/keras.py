"""Keras 3, with any of its backends: a callback that reports `fit` and `evaluate` to every tracker.

`MetricCallback` is in `keras_metric.py`, `PushToHubCallback` in `keras_hub.py`; both may be imported from here.
"""

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import keras

from runcast.adapters.keras_hub import PushToHubCallback
from runcast.adapters.keras_metric import MetricCallback
from runcast.core.lasting import LastingRun
from runcast.core.ranks import rank
from runcast.core.run import Run

__all__ = ["MetricCallback", "PushToHubCallback", "RuncastCallback"]

RUN_ID = "runcast-run-id"  # the file in the folder of BackupAndRestore, which deletes it when the training is over


class RuncastCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports a `fit`, and what is evaluated after it, to every tracker, as one run.

    `loss` is logged as `train/loss`, `val_loss` as `val/loss`, what `evaluate` returns as `eval/loss`; the step is the
    number of optimizer steps. A second `fit`, or an `evaluate` with this callback, goes on with the same run.

    Keras tells a callback nothing of an exception. A script that an exception ends is "failed", and "killed" after an
    interrupt. A training whose exception was caught is "failed" from the next `fit` or `evaluate` on, or when the
    script ends. Where it should be known at once, use the callback as a context manager around `fit`.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        config: What else was configured, as for `runcast.init`.
        every_steps: Log the metrics of the batches every so many optimizer steps; 0 for those of the epochs only.
        log_model: Keep the "best" model, the "last" one or "all" of these as artifacts.
        monitor: What the best model is best in; by default `val_loss`, without validation `loss`.
        mode: "min", "max" or "auto", as in `keras.callbacks.ModelCheckpoint`.
        backup_dir: The folder of a `keras.callbacks.BackupAndRestore` before this in the list: a training that is
            resumed from it goes on with its run.
        options: The other arguments of `runcast.init`.
    """

    def __init__(
        self,
        report_to: Any = ...,
        *,
        run: Run | None = None,
        config: Any = None,
        every_steps: int = 10,
        log_model: Literal["best", "last", "all"] | None = None,
        monitor: str | None = None,
        mode: str = "auto",
        backup_dir: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self._lasting = LastingRun(report_to, run, config=config, **options)
        self._every, self._log_model = every_steps, log_model
        self._monitor, self._mode = monitor, mode
        self._run_id = Path(backup_dir) / RUN_ID if backup_dir else None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._best: Any = None
        self._is_fitting, self._has_architecture = False, False
        self._batches, self._in_epoch, self._accumulation = 0, 0, 1
        self._logged: tuple[int, Mapping[str, Any]] = (-1, {})

    @property
    def run(self) -> Run | None:
        """The run, from the first `fit` on."""
        return self._lasting.run

    def set_params(self, params: Any) -> None:
        """Begin with a `fit` or an `evaluate`; if a `fit` is under way, an exception has ended it."""
        super().set_params(params)
        if self._is_fitting:
            self._is_fitting = False
            self._lasting.finish("failed")

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the run and log what was configured."""
        if self._run_id is not None and self._run_id.exists():
            self._lasting.id = self._run_id.read_text(encoding="utf-8")
        run = self._lasting.begin()
        self._is_fitting = True
        run.log_params(_params_of(self.model, self.params))
        self._keep_architecture(run)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Read the optimizer's count, which a resumed or earlier training has advanced."""
        self._batches, self._in_epoch = self._count(), 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of a batch when it completes one of the optimizer steps that are logged."""
        before, self._in_epoch = self._step, batch + 1
        if self._every and self._step != before and self._step % self._every == 0:
            self._log(logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Log the metrics of the epoch and of its validation, and keep the best model."""
        rate = getattr(self.model.optimizer, "learning_rate", None)
        about = {"epoch": epoch + 1} | ({} if rate is None else {"learning_rate": getattr(rate, "value", rate)})
        self._log({**about, **(logs or {})})
        if self._log_model in ("best", "all") and rank() == 0:
            self._keep_best(epoch, logs or {})
        if self._run_id is not None and self._run_id.parent.is_dir() and rank() == 0:
            self._run_id.write_text(self._lasting.open().id, encoding="utf-8")

    def on_train_end(self, logs: Any = None) -> None:
        """Keep the last model and finish the run."""
        self._is_fitting = False
        self._batches, self._in_epoch = self._batches + self._in_epoch, 0
        if self._log_model in ("last", "all") and rank() == 0:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "last.keras"
                self.model.save(path)
                self._lasting.open().log_artifact(path, name="model-last", type="model")
        self._lasting.end()

    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Log what an `evaluate` returned that is no validation of a `fit`, which logs it itself."""
        if not self._is_fitting:
            self._batches, self._in_epoch = self._count(), 0
            values = {_named(key, "eval"): value for key, value in (logs or {}).items()}
            self._lasting.open().log(values, step=self._step)
            self._lasting.end()

    def __enter__(self) -> "RuncastCallback":
        self._lasting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_fitting = False
        self._lasting.__exit__(kind, error, trace)

    @property
    def _step(self) -> int:
        return (self._batches + self._in_epoch) // self._accumulation

    def _count(self) -> int:
        """Return the number of batches that the optimizer has seen, read once an epoch: reading waits for a GPU."""
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self._accumulation = getattr(optimizer, "gradient_accumulation_steps", None) or 1
        batches = self._batches + self._in_epoch
        if not hasattr(optimizer, "iterations"):
            return batches
        steps = int(keras.ops.convert_to_numpy(optimizer.iterations))
        return batches if steps == batches // self._accumulation else steps * self._accumulation

    def _keep_best(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Let Keras judge and save, into a folder of ours, and take what it has saved."""
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
            with tempfile.TemporaryDirectory() as folder, contextlib.suppress(NotImplementedError):  # no get_config
                path = Path(folder) / "model.json"
                path.write_text(self.model.to_json(indent=2), encoding="utf-8")
                run.log_artifact(path, type="config")

    def _log(self, logs: Mapping[str, Any]) -> None:
        """Log values, but not again what the last batch of an epoch has already said at this step."""
        values = {_named(key, "train"): value for key, value in logs.items()}
        step, said = self._logged
        if step == self._step:
            values = {
                key: value
                for key, value in values.items()
                if key not in said or (said[key] != value and value == value)  # NaN is not itself
            }
        self._logged = (self._step, values)
        self._lasting.open().log(values, step=self._step)


def _named(key: str, folder: str) -> str:
    """Put a metric into its folder: `val_loss` is val/loss, `loss` train/loss or eval/loss, `my/own` stays."""
    if "/" in key:
        return key
    return f"val/{key[4:]}" if key.startswith("val_") else f"{folder}/{key}"


def _params_of(model: Any, fit: Mapping[str, Any] | None) -> dict[str, Any]:
    """Collect what was configured: of the fit, the optimizer, the losses and the model."""
    optimizer, loss = model.optimizer, getattr(model, "loss", None)
    losses = {key: _name_of(value) for key, value in loss.items()} if isinstance(loss, Mapping) else _name_of(loss)
    return {
        "fit": {key: value for key, value in (fit or {}).items() if key != "verbose"},
        "optimizer": {"class": type(optimizer).__name__, **optimizer.get_config()} if optimizer is not None else {},
        "loss": [_name_of(value) for value in loss] if isinstance(loss, list | tuple) else losses,
        "model": {
            "class": type(model).__name__,
            "name": model.name,
            "num_layers": len(model.layers),
            "num_parameters": model.count_params(),
        },
    }


def _name_of(loss: Any) -> str | None:
    return (
        loss if loss is None or isinstance(loss, str) else str(getattr(loss, "name", getattr(loss, "__name__", loss)))
    )
