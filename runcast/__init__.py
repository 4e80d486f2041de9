"""runcast: one run, cast to every tracker.

    import runcast

    with runcast.init(project="mnist", config={"lr": 3e-4}) as run:
        run.log({"train/loss": 0.5}, step=0)

Public names are found when they are first used: importing runcast imports neither torch nor any tracker.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runcast.adapters.transformers import (
        get_reporting_integration_callbacks as get_reporting_integration_callbacks,
    )
    from runcast.callbacks.files import (
        CSVLoggerCallback as CSVLoggerCallback,
        JSONLLoggerCallback as JSONLLoggerCallback,
    )
    from runcast.callbacks.flow import DefaultFlowCallback as DefaultFlowCallback
    from runcast.callbacks.functions import LambdaCallback as LambdaCallback
    from runcast.callbacks.hub import PushToHubCallback as PushToHubCallback
    from runcast.callbacks.metric import MetricCallback as MetricCallback
    from runcast.callbacks.notify import NotifyCallback as NotifyCallback
    from runcast.callbacks.progress import PrinterCallback as PrinterCallback, ProgressCallback as ProgressCallback
    from runcast.callbacks.rates import (
        LearningRateCallback as LearningRateCallback,
        ReduceLROnPlateauCallback as ReduceLROnPlateauCallback,
    )
    from runcast.callbacks.reporting import ReportCallback as ReportCallback
    from runcast.callbacks.saving import ModelCheckpointCallback as ModelCheckpointCallback
    from runcast.callbacks.stopping import (
        EarlyStoppingCallback as EarlyStoppingCallback,
        TerminateOnNaNCallback as TerminateOnNaNCallback,
    )
    from runcast.callbacks.trackers import (
        ClearMLCallback as ClearMLCallback,
        CodeCarbonCallback as CodeCarbonCallback,
        CometCallback as CometCallback,
        DVCLiveCallback as DVCLiveCallback,
        MLflowCallback as MLflowCallback,
        TensorBoardCallback as TensorBoardCallback,
        WandbCallback as WandbCallback,
    )
    from runcast.callbacks.watch import WatchCallback as WatchCallback
    from runcast.core.errors import (
        CallbackError as CallbackError,
        CheckpointError as CheckpointError,
        FinalError as FinalError,
        GoneError as GoneError,
        JournalError as JournalError,
        OptionError as OptionError,
        RestartError as RestartError,
        RetryableError as RetryableError,
        RuncastError as RuncastError,
        TrackerError as TrackerError,
        TrackerUnavailableError as TrackerUnavailableError,
        UnknownTrackerError as UnknownTrackerError,
    )
    from runcast.core.events import (
        TrainerCallback as TrainerCallback,
        TrainerControl as TrainerControl,
        TrainerState as TrainerState,
    )
    from runcast.integrations.contract import (
        Ending as Ending,
        Reading as Reading,
        TrackedRun as TrackedRun,
        Tracker as Tracker,
    )
    from runcast.journal.state import Statistics as Statistics
    from runcast.run.init import init as init
    from runcast.run.run import Run as Run
    from runcast.trainer.arguments import TrainingArguments as TrainingArguments
    from runcast.trainer.evaluation import EvalPrediction as EvalPrediction, PredictionOutput as PredictionOutput
    from runcast.trainer.trainer import Trainer as Trainer
    from runcast.values.media.kinds import (
        Audio as Audio,
        Figure as Figure,
        Histogram as Histogram,
        Image as Image,
        Table as Table,
        Text as Text,
        Video as Video,
    )
    from runcast.values.points import Point as Point

__version__ = "0.1.0"

_HOMES = {
    "init": "runcast.run.init",
    "Run": "runcast.run.run",
    "Statistics": "runcast.journal.state",
    "Image": "runcast.values.media.kinds",
    "Figure": "runcast.values.media.kinds",
    "Audio": "runcast.values.media.kinds",
    "Video": "runcast.values.media.kinds",
    "Text": "runcast.values.media.kinds",
    "Table": "runcast.values.media.kinds",
    "Histogram": "runcast.values.media.kinds",
    "Trainer": "runcast.trainer.trainer",
    "TrainingArguments": "runcast.trainer.arguments",
    "TrainerCallback": "runcast.core.events",
    "TrainerState": "runcast.core.events",
    "TrainerControl": "runcast.core.events",
    "ReportCallback": "runcast.callbacks.reporting",
    "ProgressCallback": "runcast.callbacks.progress",
    "PrinterCallback": "runcast.callbacks.progress",
    "DefaultFlowCallback": "runcast.callbacks.flow",
    "EarlyStoppingCallback": "runcast.callbacks.stopping",
    "TerminateOnNaNCallback": "runcast.callbacks.stopping",
    "ReduceLROnPlateauCallback": "runcast.callbacks.rates",
    "LearningRateCallback": "runcast.callbacks.rates",
    "ModelCheckpointCallback": "runcast.callbacks.saving",
    "CSVLoggerCallback": "runcast.callbacks.files",
    "JSONLLoggerCallback": "runcast.callbacks.files",
    "MetricCallback": "runcast.callbacks.metric",
    "NotifyCallback": "runcast.callbacks.notify",
    "LambdaCallback": "runcast.callbacks.functions",
    "PushToHubCallback": "runcast.callbacks.hub",
    "WatchCallback": "runcast.callbacks.watch",
    "WandbCallback": "runcast.callbacks.trackers",
    "MLflowCallback": "runcast.callbacks.trackers",
    "CometCallback": "runcast.callbacks.trackers",
    "ClearMLCallback": "runcast.callbacks.trackers",
    "DVCLiveCallback": "runcast.callbacks.trackers",
    "CodeCarbonCallback": "runcast.callbacks.trackers",
    "TensorBoardCallback": "runcast.callbacks.trackers",
    "EvalPrediction": "runcast.trainer.evaluation",
    "PredictionOutput": "runcast.trainer.evaluation",
    "get_reporting_integration_callbacks": "runcast.adapters.transformers",
    "Tracker": "runcast.integrations.contract",
    "TrackedRun": "runcast.integrations.contract",
    "Ending": "runcast.integrations.contract",
    "Reading": "runcast.integrations.contract",
    "Point": "runcast.values.points",
    "RuncastError": "runcast.core.errors",
    "OptionError": "runcast.core.errors",
    "UnknownTrackerError": "runcast.core.errors",
    "TrackerUnavailableError": "runcast.core.errors",
    "JournalError": "runcast.core.errors",
    "CallbackError": "runcast.core.errors",
    "CheckpointError": "runcast.core.errors",
    "TrackerError": "runcast.core.errors",
    "RetryableError": "runcast.core.errors",
    "RestartError": "runcast.core.errors",
    "FinalError": "runcast.core.errors",
    "GoneError": "runcast.core.errors",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 - a literal list would have to be kept twice


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("adapters", "callbacks", "testing", "trainer"):
        return importlib.import_module(f"runcast.{name}")
    raise AttributeError(f"module 'runcast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
