"""Accelerate: a tracker for `Accelerator(log_with=...)` that casts to all trackers.

accelerator = Accelerator(log_with=RuncastTracker(report_to="all"))
accelerator.init_trackers("mnist", config={"lr": 3e-4})
accelerator.log({"loss": loss}, step=step)
accelerator.end_training()
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from runcast.core.lasting import LastingRun
from runcast.core.media import Image, Table
from runcast.core.run import Run


class RuncastTracker(GeneralTracker):  # type: ignore[misc]
    """Opens a run when the trackers are initialised, on the main process only, and finishes it with its true status.

    The name and the options that `init_trackers(project_name, config, init_kwargs={"runcast": {...}})` is given hold
    where the constructor was given none. `accelerator.log` costs no synchronisation: device tensors may be given as
    they are. `end_training` in an `except` or `finally` block ends the run as "failed" (an interrupt: "killed"), and so
    does an exception that ends the script. After that, `init_trackers` goes on with the same run. With an `id`, a
    run of that id is gone on with.

    It can also be registered, where Accelerate has `register_tracker_class`, and chosen as `log_with="runcast"`.

    Args:
        project: Groups runs in the trackers.
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        options: The other arguments of `runcast.init`.

    Raises:
        OptionError: A tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    name = "runcast"
    requires_logging_directory = False
    main_process_only = True

    def __init__(
        self, project: str | None = None, *, report_to: Any = ..., run: Run | None = None, **options: Any
    ) -> None:
        super().__init__()
        self._lasting = LastingRun(report_to, run, project=project, **options)

    @property
    def tracker(self) -> Run | None:
        """Return the run: what `accelerator.get_tracker("runcast", unwrap=True)` returns."""
        return self._lasting.run

    @on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Open the run, or go on with it."""
        self._lasting.open(**_arguments_of_init_trackers())

    @on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Log what was configured, nested and of any type."""
        self._opened().log_params(values)

    @on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log metrics and media at a step."""
        self._opened().log(values, step=step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_images(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Log images: for each key one or several, as arrays or tensors of [H, W, C] or [C, H, W], PIL images, paths.

        Several are named key/0, key/1 …; a batch (4-d) is several.
        """
        images: dict[str, Any] = {}
        for key, value in values.items():
            if isinstance(value, list | tuple) or getattr(value, "ndim", 0) == 4:
                images |= {f"{key}/{index}": as_image(one) for index, one in enumerate(value)}
            else:
                images[key] = as_image(value)
        self._opened().log(images, step=step)

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
        """Log a table, given as columns and rows or as a data frame."""
        table = Table(dataframe) if dataframe is not None else Table(data, columns=columns)
        self._opened().log({table_name: table}, step=step)

    @on_main_process  # type: ignore[untyped-decorator]
    def log_artifact(self, local_path: str, artifact_path: str | None = None) -> None:
        """Keep a file or a folder with the run."""
        self._opened().log_artifact(local_path, name=artifact_path)

    @on_main_process  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Finish the run as what the script is leaving with: an exception that is being handled, or none."""
        self._lasting.end()

    def _opened(self) -> Run:
        return self._lasting.run or self._lasting.open()


def as_image(value: Any) -> Image:
    """Return an image as it is, or make one of what it shows."""
    return value if isinstance(value, Image) else Image(value)


def _arguments_of_init_trackers() -> dict[str, Any]:
    """Return the project and the options that `Accelerator.init_trackers` was called with.

    Accelerate hands them to trackers that it makes by name, but not to one that it is given, so they are read in its
    frame.
    """
    frame = sys._getframe(1)
    while frame is not None and "project_name" not in frame.f_locals:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None or frame.f_code.co_name != "init_trackers":
        return {}
    own = (frame.f_locals.get("init_kwargs") or {}).get(RuncastTracker.name, {})
    return {"project": frame.f_locals["project_name"], **own}
