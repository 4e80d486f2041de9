"""Ultralytics: reports the training, validation, prediction and export of a YOLO model to every tracker.

Metrics keep the names that Ultralytics gives them (`train/box_loss`, `metrics/mAP50(B)`, `val/box_loss`, `lr/pg0`); the
step is the number of optimizer steps, as its moving average of the weights counts them, also when it is resumed.
"""

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from runcast.core.errors import OptionError
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack
from runcast.run.ranks import rank
from runcast.run.run import Run
from runcast.values.media.kinds import Image

RUN_ID = "runcast-run-id"  # the file in a training's save_dir that a resumed training reads
EVENTS = (
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_epoch_end",
    "on_fit_epoch_end",
    "on_train_end",
    "teardown",
    "on_val_end",
    "on_predict_end",
    "on_export_start",
    "on_export_end",
)
# Ultralytics' own integrations with the trackers. Those with its Platform and with Ray Tune stay: they are not
# trackers.
OWN = frozenset(
    f"ultralytics.utils.callbacks.{name}" for name in ("clearml", "comet", "dvc", "mlflow", "tensorboard", "wb")
)


def attach(
    model: Any,
    report_to: Any = ...,
    *,
    run: Run | None = None,
    log_model: Literal["best", "last", "all"] | None = "best",
    log_plots: bool = True,
    project: str | None = None,
    **options: Unpack[RunOptions],
) -> "Report":
    """Report everything that a model does from now on to every tracker.

    Each `train` is a run; `val` and `export` after it continue that run, and so does a `train(resume=True)`.
    Ultralytics' own integrations are switched off for the trainings of this model; the user's settings stay as they
    are. Inside `with attach(model):` everything is one run, which stays open until the block is left; only there, and
    with `run`, is a `predict` reported: it may be called a thousand times.

    Args:
        model: A `YOLO` or another model of Ultralytics.
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        log_model: Keep the "best" weights, the "last" or "all" of these as artifacts.
        log_plots: Keep the plots that Ultralytics draws as images.
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`. Without `project` and `name`, those that
            `train` is given.

    Raises:
        OptionError: An option is wrong or unknown, a tracker's name is wrong, or *model* takes no callbacks.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """
    if not hasattr(model, "add_callback"):
        raise OptionError(
            f"attach takes a model of Ultralytics, such as YOLO('yolo11n.pt'), not {type(model).__name__}."
        )
    if log_model not in (None, "best", "last", "all"):
        raise OptionError(f"log_model={log_model!r} is unknown. Valid values are: None, 'best', 'last', 'all'.")
    report = Report(model, LastingRun(report_to, run, project=project, **options), log_model, log_plots)
    for event in EVENTS:
        functions = model.callbacks[event]
        functions[:] = [f for f in functions if not isinstance(getattr(f, "__self__", None), Report)]
        model.add_callback(event, getattr(report, event))
    return report


class Report:
    """The reporter of one model, and the holder of its run."""

    def __init__(self, model: Any, lasting: LastingRun, log_model: str | None, log_plots: bool) -> None:
        self._model, self._lasting, self._log_model, self._log_plots = model, lasting, log_model, log_plots
        self._is_training = self._has_trained = self._is_validated = self._is_epoch = self._is_sent = False
        self._step = 0
        self._shown: dict[Path, float] = {}
        self._files: dict[Path, float] = {}

    @property
    def run(self) -> Run | None:
        """The run, from the first training or validation on."""
        return self._lasting.run

    def on_pretrain_routine_start(self, trainer: Any) -> None:
        """Switch off the integrations that this trainer has just received, which come after this callback."""
        for functions in trainer.callbacks.values():
            functions[:] = [function for function in functions if getattr(function, "__module__", "") not in OWN]

    def on_pretrain_routine_end(self, trainer: Any) -> None:
        """Open the run and log the configuration."""
        if rank() != 0:
            return
        self._is_training, self._step, self._shown = True, trainer.ema.updates, {}
        note = Path(trainer.save_dir) / RUN_ID
        if trainer.resume and note.exists():
            self._lasting.id = note.read_text(encoding="utf-8")
        elif self._has_trained:
            self._lasting.forget()
        run = self._lasting.begin(**_names(trainer.args))
        note.write_text(run.id, encoding="utf-8")
        model = trainer.ema.ema
        about = {"class": type(model).__name__, "num_parameters": sum(weight.numel() for weight in model.parameters())}
        run.log_params(
            {**vars(trainer.args), "model_config": getattr(model, "yaml", {}).get("yaml_file"), "network": about}
        )

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Log the losses and the learning rates of the epoch."""
        if rank() == 0:
            self._step, self._is_epoch, self._is_validated = trainer.ema.updates, True, False
            losses = trainer.label_loss_items(trainer.tloss, prefix="train")
            self._log({**losses, **trainer.lr, "train/epoch": trainer.epoch + 1})

    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Log the validation of the epoch; the call after the last one has the metrics of the best weights."""
        if rank() != 0:
            return
        if not self._is_epoch:
            best = {f"best/{key.removeprefix('metrics/')}": float(value) for key, value in trainer.metrics.items()}
            self._lasting.open().log_summary(best)
        elif self._is_validated:
            self._log(trainer.metrics)
        self._is_epoch = False

    def on_train_end(self, trainer: Any) -> None:
        """Keep the weights and the plots."""
        run = self._lasting.open()
        for name in ("best", "last"):
            path = getattr(trainer, name)
            if self._log_model in (name, "all") and path.exists():
                run.log_artifact(path, name=f"model-{name}", type="model")
        self._show({**trainer.plots, **trainer.validator.plots})
        self._has_trained = True

    def teardown(self, trainer: Any) -> None:
        """Finish the run: an exception that ends the training is passing now."""
        if self._is_training:
            self._is_training, self._has_trained = False, True
            self._lasting.end()

    def on_val_end(self, validator: Any) -> None:
        """Log a validation outside of a training, as `eval/…` or, for the test split, `test/…`."""
        self._is_validated = True
        if self._is_training or rank() != 0:
            return
        self._join()
        folder = "test" if validator.args.split == "test" else "eval"
        values = {f"{folder}/{k.removeprefix('metrics/')}": v for k, v in validator.metrics.results_dict.items()}
        self._log(values | _speeds(folder, validator.speed))
        self._show(validator.plots)
        self._lasting.finish()

    def on_predict_end(self, predictor: Any) -> None:
        """Log the number of images and the time for one, if a run is open."""
        if self._lasting.is_open and not self._is_training and rank() == 0:
            self._log({"predict/images": predictor.seen} | _speeds("predict", getattr(predictor, "speed", {})))

    def on_export_start(self, exporter: Any) -> None:
        """Remember the files that are there."""
        self._files = _beside(exporter.file)

    def on_export_end(self, exporter: Any) -> None:
        """Keep the exported files as artifacts."""
        changed = [path for path, time in _beside(exporter.file).items() if self._files.get(path) != time]
        if self._is_training or not changed or rank() != 0:
            return
        self._join()
        for path in changed:
            self._lasting.open().log_artifact(path, type="model")
        self._lasting.finish()

    def __enter__(self) -> "Report":
        self._lasting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lasting.__exit__(kind, error, trace)

    def _join(self) -> None:
        """Go on with the run of a distributed training, which Ultralytics does in processes that it starts."""
        trainer: Any = getattr(self._model, "trainer", None)
        note = Path(trainer.save_dir) / RUN_ID if getattr(trainer, "ddp", False) else None
        if note is not None and note.exists() and (run_id := note.read_text(encoding="utf-8")) != self._lasting.id:
            self._lasting.forget()
            self._lasting.id = run_id

    def __getstate__(self) -> dict[str, Any]:
        """Travel to the processes of a distributed training without the model; each training is a run."""
        if self._is_sent:
            self._lasting.forget()
        self._is_sent = True
        return {**self.__dict__, "_model": None}

    def _log(self, values: Mapping[str, Any]) -> None:
        self._lasting.open().log(values, step=self._step)

    def _show(self, plots: Mapping[Path, Any]) -> None:
        """Log the plots that are new."""
        if not self._log_plots:
            return
        for thread in threading.enumerate():
            if "(plot_images)" in thread.name:  # it still draws, and will be in *plots* when it has
                thread.join()
        new = {
            path: plot for path, plot in plots.items() if self._shown.get(path) != plot["timestamp"] and path.exists()
        }
        self._shown |= {path: plot["timestamp"] for path, plot in new.items()}
        self._log({f"plots/{path.stem}": Image(path) for path in new})


def _names(args: Any) -> dict[str, str]:
    """Return the names that the user gave; those that Ultralytics makes up would beat the trackers' own variables."""
    name = os.environ.get("MLFLOW_RUN") or (None if re.fullmatch(r"train(-?\d+)?", args.name) else args.name)
    found = {"project": Path(args.project).name if args.project else None, "name": name}
    return {key: value for key, value in found.items() if value}


def _speeds(folder: str, speed: Mapping[str, float]) -> dict[str, float]:
    return {f"{folder}/{name}_ms": value for name, value in speed.items()}


def _beside(file: Path) -> dict[Path, float]:
    """Map what an export of a weights file may have written, beside it, to when that was changed."""
    return {path: path.stat().st_mtime for path in file.parent.glob(f"{file.stem}*") if path.suffix != ".pt"}
