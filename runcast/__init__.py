"""runcast: one run, cast to every tracker.

    import runcast

    with runcast.init(project="mnist", config={"lr": 3e-4}) as run:
        run.log({"train/loss": 0.5}, step=0)

Public names are found when they are first used: importing runcast imports neither torch nor any tracker. `__init__.pyi`
is made from the table below by `make format`; type checkers and editors read it.
"""

from typing import Any

__version__ = "0.1.0"

# Module → its public names.
_PUBLIC = {
    "run.init": "init",
    "run.run": "Run",
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
        "ClearMLCallback CodeCarbonCallback CometCallback DVCLiveCallback MLflowCallback "
        "TensorBoardCallback WandbCallback"
    ),
    "trainer.evaluation": "EvalPrediction PredictionOutput",
    "adapters.transformers": "get_reporting_integration_callbacks",
    "integrations.contract": "TrackedRun Tracker",
    "integrations.payloads": "Ending Reading",
    "values.points": "Point",
    "core.errors": (
        "CheckpointError FinalError GoneError JournalError "
        "OptionError RestartError RetryableError RuncastError TrackerError "
        "TrackerUnavailableError UnknownTrackerError"
    ),
}
_ROOMS = ("adapters", "callbacks", "testing", "trainer")
_HOMES = {name: module for module, names in _PUBLIC.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - one table, not two


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(f"runcast.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return importlib.import_module(f"runcast.{name}")
    raise AttributeError(f"module 'runcast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
