"""One callback per tracker, as in `callbacks=[WandbCallback(entity="team"), MLflowCallback()]`.

Those that stand side by side in one trainer share one run: the first of them speaks for all.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ClassVar
from weakref import WeakSet

from runcast.callbacks.reporting import ReportCallback
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.run.run import Run


def _once(report: Callable[..., Any]) -> Callable[..., None]:
    """Let the first callback of a trainer report an event for all of them."""

    @wraps(report)
    def hook(
        self: "TrackerCallback", args: Any, state: TrainerState, control: TrainerControl, *more: Any, **kwargs: Any
    ) -> None:
        if self._first_of(state) is self:
            self._begin()
            report(self, args, state, control, *more, **kwargs)

    return hook


class TrackerCallback(ReportCallback):
    """The report to one tracker; see `ReportCallback` for what is reported, and when the run begins and ends.

    The run's project and name are those of the trainer's arguments, else of RUNCAST_PROJECT and RUNCAST_NAME.

    Args:
        run: An open run to report to; it is not finished here, and already knows its trackers.
        options: What one would pass to the tracker by hand, as in `setup={"wandb": {"entity": "team"}}`.

    Raises:
        OptionError: The tracker has no such option; the message says which one was probably meant.
        TrackerUnavailableError: The tracker cannot be used here; the message says what to install.
    """

    tracker: ClassVar[str]
    _firsts: ClassVar["WeakSet[TrackerCallback]"] = WeakSet()

    def __init__(self, *, run: Run | None = None, **options: Any) -> None:
        super().__init__([self.tracker], run=run, setup={self.tracker: options})
        self._setup: dict[str, Any] = {self.tracker: options}
        self._state: TrainerState | None = None  # of the trainer in which this is the first
        self._company: dict[str, Any] = {}  # there, every tracker with its options
        self._begins: Callable[[], None] | None = None

    def setup(self, args: Any, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Open the run before the training does, and log the configuration; a second call changes nothing."""
        first = self._first_of(state)
        first._lasting.cast_to(first._company)
        if not first._lasting.is_open:
            ReportCallback.on_train_begin(first, args, state, TrainerControl(), model=model)

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Wait until the others have been met: the next event opens the run."""
        if self._first_of(state) is self:
            self._begins = partial(super().on_train_begin, args, state, control, model=model)

    on_epoch_begin = _once(TrainerCallback.on_epoch_begin)
    on_init_end = _once(ReportCallback.on_init_end)
    on_checkpoint_load = _once(ReportCallback.on_checkpoint_load)
    on_log = _once(ReportCallback.on_log)
    on_predict = _once(ReportCallback.on_predict)
    on_save = _once(ReportCallback.on_save)
    on_train_end = _once(ReportCallback.on_train_end)
    on_exception = _once(ReportCallback.on_exception)
    teardown = _once(ReportCallback.teardown)

    def _first_of(self, state: TrainerState) -> "TrackerCallback":
        """Return the first of the callbacks that share a state, and so a trainer."""
        if not self._lasting.is_mine:
            return self
        first = next((callback for callback in self._firsts if callback._state is state), self)
        if first._state is not state:
            self._state, self._company = state, {}
            self._firsts.add(self)
        first._company |= self._setup
        self._lasting = first._lasting
        return first

    def _begin(self) -> None:
        begin, self._begins = self._begins, None
        if begin is not None:
            self._lasting.cast_to(self._company)
            begin()

    def _open(self, args: Any) -> Run:
        self._lasting.cast_to(self._company)
        return super()._open(args)


class WandbCallback(TrackerCallback):
    """The report to Weights & Biases, with the arguments of `wandb.init`: `WandbCallback(entity="team")`."""

    tracker = "wandb"


class MLflowCallback(TrackerCallback):
    """The report to MLflow: `MLflowCallback(tracking_uri="http://…", experiment_name="digits")`."""

    tracker = "mlflow"


class CometCallback(TrackerCallback):
    """The report to Comet, with the arguments of `comet_ml.start`: `CometCallback(workspace="team")`."""

    tracker = "comet_ml"


class ClearMLCallback(TrackerCallback):
    """The report to ClearML: `ClearMLCallback(project_name="digits", output_uri="s3://…")`."""

    tracker = "clearml"


class DVCLiveCallback(TrackerCallback):
    """The report to DVCLive, with the arguments of `dvclive.Live`: `DVCLiveCallback(report="md")`."""

    tracker = "dvclive"


class TensorBoardCallback(TrackerCallback):
    """The report to TensorBoard: `TensorBoardCallback(log_dir="boards")`."""

    tracker = "tensorboard"


class SwanLabCallback(TrackerCallback):
    """The report to SwanLab, with the arguments of `swanlab.init`: `SwanLabCallback(workspace="team")`."""

    tracker = "swanlab"


class TrackioCallback(TrackerCallback):
    """The report to Trackio, with the arguments of `trackio.init`: `TrackioCallback(space_id="user/space")`."""

    tracker = "trackio"


class DagsHubCallback(TrackerCallback):
    """The report to a repository's MLflow server at DagsHub: `DagsHubCallback(repo="owner/name")`."""

    tracker = "dagshub"


class AzureMLCallback(TrackerCallback):
    """The report to Azure ML: `AzureMLCallback(experiment_name="digits")`."""

    tracker = "azure_ml"


class FlyteCallback(TrackerCallback):
    """The report to the Deck of the Flyte task that trains: `FlyteCallback(checkpoint="s3://bucket/model")`."""

    tracker = "flyte"


class AimCallback(TrackerCallback):
    """The report to a repository of Aim: `AimCallback(repo="/data/aim", experiment="digits")`."""

    tracker = "aim"


class CodeCarbonCallback(TrackerCallback):
    """The report of energy and emissions, as CodeCarbon measures them: `CodeCarbonCallback(measure_power_secs=30)`."""

    tracker = "codecarbon"


class SystemCallback(TrackerCallback):
    """The samples of processors, memory, disks, network and GPUs: `SystemCallback(every_s=30)`."""

    tracker = "system"
