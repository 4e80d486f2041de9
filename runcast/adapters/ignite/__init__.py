"""PyTorch Ignite: a logger like its own ones, with their handlers, for every tracker.

It is attached to any number of engines, on any of their events and event filters. Values go to the run as they are: a
loss on a GPU is not waited for.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakSet

import torch
from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger
from ignite.handlers.checkpoint import BaseSaveHandler
from ignite.handlers.utils import global_step_from_engine

from runcast.adapters.ignite.handlers import (
    GradsHistHandler,
    GradsScalarHandler,
    OptimizerParamsHandler,
    OutputHandler,
    WeightsHistHandler,
    WeightsScalarHandler,
)
from runcast.adapters.writer import Writer
from runcast.journal.status import status_of
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack
from runcast.run.ranks import rank
from runcast.run.run import Run

__all__ = [
    "GradsHistHandler",
    "GradsScalarHandler",
    "OptimizerParamsHandler",
    "OutputHandler",
    "RuncastLogger",
    "RuncastSaver",
    "WeightsHistHandler",
    "WeightsScalarHandler",
    "global_step_from_engine",
]
OF_A_RUN = ("config", "dir", "id", "project", "status", "step", "summary")  # beside what its class has


class RuncastLogger(BaseLogger):  # type: ignore[misc]
    """The report of one or several engines to every tracker, as one run.

    The run is opened when an engine that this is attached to starts, by the first value, or by `run`. `close`, or
    leaving it as a context manager, finishes it: with "failed" and the traceback if an exception is on its way,
    "killed" after an interrupt, "failed" if an engine that this is attached to has started and neither completed nor
    was interrupted by a handler. A value logged after that continues the same run. It may be saved in a `Checkpoint`,
    beside the trainer: then a resumed training continues its run. In processes of another rank than 0 it does nothing.

    What the run has, the logger has: `logger.log({"loss": 0.5}, step=3)`. `logger.writer` takes the calls of
    TensorBoard's SummaryWriter.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        log_dir: The folder that holds the runs, as TensorboardLogger calls `dir`.
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
        log_dir: str | os.PathLike[str] | None = None,
        project: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        self._lasting = LastingRun(report_to, run, root=log_dir, project=project, **options)
        self._attached: WeakSet[Engine] = WeakSet()
        self._unfinished: set[Engine] = set()

    @property
    def run(self) -> Run:
        """The open run."""
        return self._lasting.open()

    @property
    def writer(self) -> Writer:
        """What takes the calls of TensorBoard's SummaryWriter: `logger.writer.add_scalar("loss", 0.5, 3)`."""
        return Writer(lambda: self.run)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not (hasattr(Run, name) or name in OF_A_RUN):
            raise AttributeError(f"RuncastLogger has no {name!r}, and nor has its run.")
        return getattr(self.run, name)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_attached": None, "_unfinished": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _attached=WeakSet(), _unfinished=set())

    def attach(
        self, engine: Engine, log_handler: Callable[..., Any], event_name: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Attach a handler to an event, an event with a filter or several events, as Ignite's loggers do."""
        if engine not in self._attached:
            self._attached.add(engine)
            engine.add_event_handler(Events.STARTED, self._note_begin)
            for over in (Events.COMPLETED, Events.TERMINATE, Events.INTERRUPT):
                engine.add_event_handler(over, self._note_end)
        return super().attach(engine, log_handler, event_name, *args, **kwargs)

    def close(self) -> None:
        """Finish the run."""
        self._lasting.end(failed=bool(self._unfinished))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the run that a resumed training continues."""
        return {"run_id": self.run.id}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the run of a checkpoint; call it before the first value is logged."""
        self._lasting.id = state_dict["run_id"]

    def _note_begin(self, engine: Engine) -> None:
        if not self._unfinished:
            self._lasting.begin()  # before the first value, as a training may fail without any
        self._unfinished.add(engine)

    def _note_end(self, engine: Engine) -> None:
        self._unfinished.discard(engine)
        if not self._unfinished:
            self._lasting.pause()

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> "OutputHandler":
        return OutputHandler(*args, **kwargs)

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> "OptimizerParamsHandler":
        return OptimizerParamsHandler(*args, **kwargs)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._lasting.finish(*status_of(error))


class RuncastSaver(BaseSaveHandler):  # type: ignore[misc]
    """A save handler that keeps checkpoints as artifacts of the run: `Checkpoint(to_save, RuncastSaver(logger), …)`.

    The artifact has the checkpoint's base name, such as `best_model`; each save is a newer version of it.
    """

    def __init__(self, logger: RuncastLogger) -> None:
        self._logger = logger

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Mapping[str, Any] | None = None) -> None:
        """Save a checkpoint."""
        if rank() == 0:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / filename
                torch.save(checkpoint, path)
                self._logger.run.log_artifact(path, name=(metadata or {}).get("basename") or path.stem, type="model")

    def remove(self, filename: str) -> None:
        """Keep it: trackers keep every version."""
