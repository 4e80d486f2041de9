# Made by `make format` from the table in __init__.py.
from runcast import adapters as adapters, callbacks as callbacks, testing as testing, trainer as trainer
from runcast.adapters.transformers import get_reporting_integration_callbacks as get_reporting_integration_callbacks
from runcast.callbacks.files import CSVLoggerCallback as CSVLoggerCallback, JSONLLoggerCallback as JSONLLoggerCallback
from runcast.callbacks.flow import DefaultFlowCallback as DefaultFlowCallback
from runcast.callbacks.hub import PushToHubCallback as PushToHubCallback
from runcast.callbacks.metric import MetricCallback as MetricCallback
from runcast.callbacks.notify import NotifyCallback as NotifyCallback
from runcast.callbacks.profiler import ProfilerCallback as ProfilerCallback
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
    AimCallback as AimCallback,
    AzureMLCallback as AzureMLCallback,
    ClearMLCallback as ClearMLCallback,
    CodeCarbonCallback as CodeCarbonCallback,
    CometCallback as CometCallback,
    DagsHubCallback as DagsHubCallback,
    DVCLiveCallback as DVCLiveCallback,
    FlyteCallback as FlyteCallback,
    MLflowCallback as MLflowCallback,
    SwanLabCallback as SwanLabCallback,
    SystemCallback as SystemCallback,
    TensorBoardCallback as TensorBoardCallback,
    TrackioCallback as TrackioCallback,
    WandbCallback as WandbCallback,
)
from runcast.callbacks.watch import WatchCallback as WatchCallback
from runcast.core.errors import (
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
from runcast.core.functions import LambdaCallback as LambdaCallback
from runcast.integrations.contract import Tracker as Tracker
from runcast.integrations.payloads import Ending as Ending, Reading as Reading
from runcast.integrations.tracked_run import TrackedRun as TrackedRun
from runcast.journal.state import Statistics as Statistics
from runcast.run.current import alert as alert, finish as finish, log as log, log_samples as log_samples
from runcast.run.init import init as init
from runcast.run.run import Run as Run
from runcast.trainer.evaluation import EvalPrediction as EvalPrediction, PredictionOutput as PredictionOutput
from runcast.trainer.seq2seq import (
    Seq2SeqTrainer as Seq2SeqTrainer,
    Seq2SeqTrainingArguments as Seq2SeqTrainingArguments,
)
from runcast.trainer.settings.arguments import TrainingArguments as TrainingArguments
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
from runcast.values.recorded import Recorded

__version__: str
config: Recorded
run: Run | None
summary: Recorded
