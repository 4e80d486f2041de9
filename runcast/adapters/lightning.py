"""Lightning: a logger for `Trainer(logger=...)` and `Fabric(loggers=...)` that casts to all trackers.

    trainer = lightning.Trainer(logger=RuncastLogger(report_to="all"))

Works with the packages `lightning` and `pytorch_lightning`: with the one that the script has imported, or that is
installed.
"""

import contextlib
import importlib.util
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runcast.adapters.named_media import as_table, keep_layers, log_several
from runcast.adapters.writer import Writer
from runcast.core.errors import OptionError
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack
from runcast.run.run import Run
from runcast.values.media.kinds import Audio, Image, Text, Video
from runcast.values.numbers import is_mapping

_IS_LIGHTNING = "lightning.pytorch" in sys.modules or (
    "pytorch_lightning" not in sys.modules and importlib.util.find_spec("lightning") is not None
)
if TYPE_CHECKING or _IS_LIGHTNING:
    from lightning.fabric.loggers.logger import rank_zero_experiment
    from lightning.fabric.utilities.rank_zero import rank_zero_only
    from lightning.pytorch.loggers import CSVLogger, Logger
else:
    from lightning_fabric.loggers.logger import rank_zero_experiment
    from lightning_fabric.utilities.rank_zero import rank_zero_only
    from pytorch_lightning.loggers import CSVLogger, Logger

DONE = ("success", "finished")  # SLURM's requeue, which is no failure, is told to loggers as the latter
_END_OF_TUNING = "_TunerExitException"  # raised by Tuner.lr_find and scale_batch_size to leave `fit` when they succeed


class RuncastLogger(Logger):  # type: ignore[misc]
    """A Lightning logger that opens a run on rank zero when there is something to log.

    Metrics keep the names and the steps that Lightning gives them. What the trainer does after its first `fit`
    (validate, test, predict, fit again) continues the same run, and so does a copy of the logger. `trainer.log_dir`
    is the run's own folder, which holds Lightning's checkpoints and the configuration of a LightningCLI.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`; "default" stands for
            RUNCAST_REPORT_TO, else "all".
        run: An open run to log to; it is not finished here.
        log_model: True keeps the best and the last checkpoint as artifacts when the training ends, "all" every one when
            it is saved.
        prefix: Is put before the name of each metric, with a slash.
        save_dir: The folder that holds the runs, as other loggers call `dir`.
        version: The run's id, as other loggers call `id`; 3 means "version_3".
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`. With an `id`, a run of that id is
            resumed.

    Raises:
        OptionError: An option is wrong or unknown, or a tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    def __init__(
        self,
        report_to: Any = "default",
        *,
        run: Run | None = None,
        log_model: bool | str = False,
        prefix: str = "",
        save_dir: str | os.PathLike[str] | None = None,
        version: int | str | None = None,
        project: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        super().__init__()
        if log_model not in (True, False, "all"):
            raise OptionError(f"log_model={log_model!r} is unknown. Valid values are: True, False, 'all'.")
        if version is not None:
            options.setdefault("id", version if isinstance(version, str) else f"version_{version}")
        self._lasting = LastingRun(report_to, run, root=save_dir, project=project, **options)
        self._log_model = log_model
        self._prefix = f"{prefix}/" if prefix else ""
        self._checkpoints: dict[int, Any] = {}
        self._kept: dict[str, float] = {}
        self._graph_of = 0

    @property
    @rank_zero_experiment  # type: ignore[untyped-decorator]
    def experiment(self) -> Run:
        """Return the run; on other ranks, something that takes every call and does nothing.

        It has the calls of TensorBoard's writer too, which modules make on the experiment of Lightning's usual logger.
        """
        return Writer.give_to(self._lasting.open())

    @property
    def name(self) -> str:
        """Return the empty word, as Lightning puts checkpoints into save_dir/name/version/checkpoints."""
        return ""

    @property
    def version(self) -> str | None:
        """Return the run's id, which is the name of its folder."""
        return None if rank_zero_only.rank > 0 else self._lasting.dir.name

    @property
    def save_dir(self) -> str | None:
        """Return the folder that holds the runs."""
        return None if rank_zero_only.rank > 0 else str(self._lasting.dir.parent)

    @property
    def root_dir(self) -> str | None:
        """Return the folder that holds the runs."""
        return self.save_dir

    @property
    def log_dir(self) -> str | None:
        """Return the run's folder."""
        return None if rank_zero_only.rank > 0 else str(self._lasting.dir)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics and media at Lightning's step."""
        if self._prefix and is_mapping(metrics):
            metrics = {f"{self._prefix}{key}": value for key, value in metrics.items()}
        self.experiment.log(metrics, step=step)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_hyperparams(
        self,
        params: Mapping[str, Any] | Namespace | None = None,
        metrics: Mapping[str, Any] | float | None = None,
        step: int | None = 0,
        **kwargs: Any,
    ) -> None:
        """Log the configuration, nested and of any type, and metrics that belong to it; a number is `hp_metric`."""
        self.experiment.log_params(params)
        if metrics is not None:
            self.log_metrics(metrics if is_mapping(metrics) else {"hp_metric": metrics}, step)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_image(self, key: str, images: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log images: arrays or tensors of [H, W, C] or [C, H, W], PIL images, paths; `caption` is a list of texts."""
        log_several(self.experiment, Image, f"{self._prefix}{key}", images, step, kwargs)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_audio(self, key: str, audios: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log sounds: arrays or paths; `sample_rate` and `caption` are lists."""
        log_several(self.experiment, Audio, f"{self._prefix}{key}", audios, step, kwargs)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_video(self, key: str, videos: Sequence[Any], step: int | None = None, **kwargs: Any) -> None:
        """Log videos: paths or arrays of frames; `caption` and `fps` are lists."""
        log_several(self.experiment, Video, f"{self._prefix}{key}", videos, step, kwargs)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log a table, given as columns and rows or as a data frame; columns without names are numbered."""
        self.log_metrics({key: as_table(columns, data, dataframe)}, step)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | str | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Log texts as a table, as W&B's logger does, or one text: `log_text("sample", data="…")`."""
        if isinstance(data, str):
            self.log_metrics({key: Text(data)}, step)
        else:
            self.log_table(key, columns, data, dataframe, step)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Keep the model's layers, as PyTorch prints them, as the artifact `model.txt`; each `fit` asks for it."""
        if self._graph_of != id(model):
            self._graph_of = id(model)
            keep_layers(self.experiment, model)

    @rank_zero_only  # type: ignore[untyped-decorator]
    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Keep the new checkpoints as artifacts, or remember where the best and the last one will be."""
        if self._log_model == "all":
            paths = [getattr(checkpoint_callback, name, "") for name in ("best_model_path", "last_model_path")]
            for path in (*getattr(checkpoint_callback, "best_k_models", {}), *paths):
                self._keep(Path(path).name, path)
        elif self._log_model:
            self._checkpoints[id(checkpoint_callback)] = checkpoint_callback

    @rank_zero_only  # type: ignore[untyped-decorator]
    def finalize(self, status: str) -> None:
        """Finish the run; the exception that Lightning is handling says whether it failed or was interrupted."""
        if not self._lasting.is_open:
            return
        if type(sys.exc_info()[1]).__name__ == _END_OF_TUNING:
            self._lasting.finish()
            return
        for callback in self._checkpoints.values():
            with contextlib.suppress(ReferenceError):  # it is of an earlier trainer, which is gone
                best = getattr(callback, "best_model_path", "")
                self._keep("model-best", best)
                self._keep("model-last", getattr(callback, "last_model_path", "") or best)
        self._checkpoints.clear()
        self._lasting.end(failed=status not in DONE)

    def _keep(self, name: str, path: str) -> None:
        """Keep a checkpoint, once for each time that it was written."""
        if "://" in str(path):
            self.experiment._drop(name, f"is not on this machine, but at {path}")
        elif path and Path(path).exists():
            written = Path(path).stat().st_mtime
            if self._kept.get(f"{name}:{path}") != written:
                self._kept[f"{name}:{path}"] = written
                self.experiment.log_artifact(path, name=name, type="model")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_checkpoints": {}}  # they hold the trainer


# Lightning takes `trainer.log_dir` from a logger's `log_dir` only if it is one of its own loggers of files.
CSVLogger.register(RuncastLogger)
