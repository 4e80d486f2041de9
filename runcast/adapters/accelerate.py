"""Accelerate: a tracker for `Accelerator(log_with=...)` that casts to all trackers.

accelerator = Accelerator(log_with=RuncastTracker(report_to="all"))
accelerator.init_trackers("mnist", config={"lr": 3e-4})
accelerator.log({"loss": loss}, step=step)
accelerator.end_training()
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from runcast.adapters.named_media import as_images, as_table, log_figure
from runcast.autodetect.tracker_options import check_setup
from runcast.core.errors import OptionError
from runcast.integrations.table import row_named
from runcast.redaction.console import warn
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack
from runcast.run.run import Run
from runcast.values.media.kinds import Text
from runcast.values.numbers import is_mapping


class RuncastTracker(GeneralTracker):  # type: ignore[misc]
    """A tracker of Accelerate that opens a run on the main process and finishes it with its true status.

    The name and the options that `init_trackers(project_name, config, init_kwargs={"runcast": {...}})` is given hold
    if the constructor had none. Those for a tracker that the Accelerator has not itself, as `{"wandb": {...}}`, are
    options of its SDK here, too. `accelerator.log` costs no synchronization: device tensors may be given as
    they are. `end_training` in an `except` or `finally` block ends the run as "failed" (an interrupt: "killed"), and so
    does an exception that ends the script. Later logs continue the same run, and so does a second
    `init_trackers`. With an `id`, a run of that id is resumed.

    It can also be registered, where Accelerate has `register_tracker_class`, and chosen as `log_with="runcast"`.

    Args:
        project: Groups runs in the trackers.
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        logging_dir: The folder that holds the runs, as Accelerate's trackers call `dir`.
        options: The other arguments of `runcast.init`, those of `RunOptions`.

    Raises:
        OptionError: An option is wrong or unknown, or a tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    name = "runcast"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self,
        project: str | None = None,
        *,
        report_to: Any = ...,
        run: Run | None = None,
        logging_dir: str | os.PathLike[str] | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        super().__init__()
        self._lasting = LastingRun(report_to, run, root=logging_dir, project=project, **options)

    @property
    def tracker(self) -> Run | None:
        """Return the run: what `accelerator.get_tracker("runcast", unwrap=True)` returns."""
        return self._lasting.run

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Open the run, or continue it if the Accelerator calls this tracker again."""
        call = _call_of_init_trackers()
        options: dict[str, Any] = {}
        if call is not None:
            given, accelerator = call.f_locals.get("init_kwargs") or {}, call.f_locals["self"]
            setup = _setup_of(given, accelerator.trackers)
            options = {"project": call.f_locals["project_name"], "setup": setup or None, **(given.get(self.name) or {})}
            self._stand_once(accelerator)
        self._lasting.open(**options)

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log the configuration, nested and of any type."""
        self._lasting.open().log_params(values)

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log metrics, media and texts at a step."""
        texts = (
            {key: Text(value) for key, value in values.items() if isinstance(value, str)} if is_mapping(values) else {}
        )
        self._lasting.open().log({**values, **texts} if texts else values, step=step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log images: for each key one or several, as arrays or tensors of [H, W, C] or [C, H, W], PIL images, paths.

        Several are named key/0, key/1 …; a batch (4-d) is several; an (image, text) pair has a caption.
        """
        images = [as_images(key, value) for key, value in values.items()]
        self._lasting.open().log({key: image for named in images for key, image in named.items()}, step=step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_figure(self, figure: Any, artifact_file: str, step: int | None = None, **kwargs: Any) -> None:
        """Log a figure, under the name of the file without its ending."""
        file = str(artifact_file)
        log_figure(self._lasting.open(), figure, file.removesuffix(Path(file).suffix), step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_table(
        self,
        table_name: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Log a table, given as columns and rows or as a data frame; columns without names are numbered."""
        self._lasting.open().log({table_name: as_table(columns, data, dataframe)}, step=step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_artifact(self, local_path: str, artifact_path: str | None = None) -> None:
        """Keep a file or a folder with the run."""
        self._lasting.open().log_artifact(local_path, name=artifact_path)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> None:
        """Keep a folder with the run."""
        self._lasting.open().log_artifact(local_dir, name=artifact_path)

    @on_main_process  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Finish the run with the status of the script: judged by the exception being handled, if any."""
        self._lasting.end()

    def _stand_once(self, accelerator: Any) -> None:
        """Take this tracker's second place, and another one made by the same name, out of an Accelerator's list."""
        is_by_name = self not in accelerator.log_with
        kept: list[Any] = []
        for tracker in accelerator.trackers:
            is_made = is_by_name and type(tracker) is type(self) and tracker not in accelerator.log_with
            if not (self in kept and (tracker is self or is_made)):
                kept.append(tracker)
        accelerator.trackers[:] = kept


def _setup_of(given: Mapping[str, Any], trackers: Sequence[Any]) -> dict[str, Any]:
    """Return the options for trackers of ours, but for those that the Accelerator reports to itself."""
    others = {tracker.name for tracker in trackers}
    setup: dict[str, Any] = {}
    for name, options in given.items():
        if name not in others and row_named(name) is not None and isinstance(options, Mapping):
            try:
                check_setup({name: options})
                setup[name] = options
            except OptionError as error:
                warn(f"init_kwargs[{name!r}] is not used: {error}")
    return setup


def _call_of_init_trackers() -> FrameType | None:
    """Return the call of `Accelerator.init_trackers` that this one is part of.

    Accelerate hands its arguments to trackers that it makes by name, but not to one that it is given, so they are read
    in its frame.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and "project_name" not in frame.f_locals:
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_name == "init_trackers" else None
