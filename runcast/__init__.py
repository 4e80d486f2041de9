"""runcast: one run, cast to every tracker.

    import runcast

    with runcast.init(project="mnist", config={"lr": 3e-4}) as run:
        run.log({"train/loss": 0.5}, step=0)

Public names are found when they are first used: importing runcast imports neither torch nor any tracker. `__init__.pyi`
is made from the table below by `make format`; type checkers and editors read it.
"""

import sys
from typing import Any

__version__ = "0.1.0"

# Module → its public names.
_PUBLIC = {
    "run.init": "init",
    "run.run": "Run",
    "run.current": "alert finish log log_samples",
    "journal.state": "Statistics",
    "values.media.kinds": "Audio Figure Histogram Image Table Text Video",
    "trainer.trainer": "Trainer",
    "trainer.seq2seq": "Seq2SeqTrainer Seq2SeqTrainingArguments",
    "trainer.settings.arguments": "TrainingArguments",
    "core.events": "TrainerCallback TrainerControl TrainerState",
    "core.functions": "LambdaCallback",
    "callbacks.reporting": "ReportCallback",
    "callbacks.progress": "PrinterCallback ProgressCallback",
    "callbacks.flow": "DefaultFlowCallback",
    "callbacks.stopping": "EarlyStoppingCallback TerminateOnNaNCallback",
    "callbacks.rates": "LearningRateCallback ReduceLROnPlateauCallback",
    "callbacks.saving": "ModelCheckpointCallback",
    "callbacks.files": "CSVLoggerCallback JSONLLoggerCallback",
    "callbacks.metric": "MetricCallback",
    "callbacks.notify": "NotifyCallback",
    "callbacks.hub": "PushToHubCallback",
    "callbacks.profiler": "ProfilerCallback",
    "callbacks.watch": "WatchCallback",
    "callbacks.trackers": (
        "AimCallback AzureMLCallback ClearMLCallback CodeCarbonCallback CometCallback DVCLiveCallback DagsHubCallback "
        "FlyteCallback MLflowCallback SwanLabCallback SystemCallback TensorBoardCallback TrackioCallback WandbCallback"
    ),
    "trainer.evaluation": "EvalPrediction PredictionOutput",
    "adapters.transformers": "get_reporting_integration_callbacks",
    "integrations.contract": "Tracker",
    "integrations.tracked_run": "TrackedRun",
    "integrations.payloads": "Ending Reading",
    "values.points": "Point",
    "core.errors": (
        "CheckpointError FinalError GoneError JournalError "
        "OptionError RestartError RetryableError RuncastError TrackerError "
        "TrackerUnavailableError UnknownTrackerError"
    ),
}
_ROOMS = ("adapters", "callbacks", "testing", "trainer")
# Properties of the current run: see `_Package`.
_CURRENT = {"config": "values.recorded.Recorded", "run": "run.run.Run | None", "summary": "values.recorded.Recorded"}
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - one table, not two


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"runcast.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"runcast.{name}")
    if name in _CURRENT:  # its property has raised an AttributeError, which brings us here
        importlib.import_module("runcast.run.current").current_run(name)
    raise AttributeError(f"module 'runcast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_CURRENT])


class _Package(type(sys)):  # type: ignore[misc]
    """The package, whose `run` is the current run or None, although a room has that name."""

    @property
    def run(self) -> Any:
        current = sys.modules.get("runcast.run.current")  # without it, no run was begun
        return None if current is None else current.Current.find()

    @run.setter
    def run(self, room: Any) -> None:
        """Ignore the room that the import system binds here; `from runcast.run… import` does not need it."""

    @property
    def config(self) -> Any:
        from runcast.run.current import current_run

        return current_run("config").config

    @config.setter
    def config(self, values: Any) -> None:
        self.config.update(values)

    @property
    def summary(self) -> Any:
        from runcast.run.current import current_run

        return current_run("summary").summary

    @summary.setter
    def summary(self, values: Any) -> None:
        self.summary.update(values)


sys.modules[__name__].__class__ = _Package
