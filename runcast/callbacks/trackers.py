"""One callback for each tracker, for who writes `callbacks=[WandbCallback(entity="team"), MLflowCallback()]`.

Those that stand side by side in one trainer share one run: the first of them speaks for all.
"""

from collections.abc import Callable
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from runcast.callbacks.host import recall, remember
from runcast.callbacks.reporting import ReportCallback
from runcast.core.events import EVENTS, Control, TrainerControl, TrainerState
from runcast.run.run import Run


class Company:
    """The callbacks of one trainer, known by the arguments that it gives to all of them."""

    def __init__(self, args: Any) -> None:
        self.args = args
        self.members: list[TrackerCallback] = []
        self.cast_to: list[str] = []
        self.begin: Callable[[], Any] | None = None


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
    _companies: ClassVar["WeakValueDictionary[int, Company]"] = WeakValueDictionary()

    def __init__(self, *, run: Run | None = None, **options: Any) -> None:
        super().__init__([self.tracker], run=run, setup={self.tracker: options})
        self._own_options = options
        self._company: Company | None = None

    def setup(self, args: Any, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """Open the run before the training does, and log what was configured; a second call changes nothing."""
        company = self._join(args)
        if company.members[0].run is None or company.cast_to != _names(company):
            ReportCallback.on_train_begin(company.members[0], args, state, TrainerControl(), model=model)

    def _join(self, args: Any) -> Company:
        if self._company is None or self._company.args is not args:
            company = None if not self._is_mine else self._companies.get(id(args))
            if company is None or any(type(member) is type(self) for member in company.members):
                company = Company(args)  # the arguments may serve one trainer after another
                if self._is_mine:
                    self._companies[id(args)] = company
            company.members.append(self)
            self._company = company
        return self._company

    def _forget(self) -> None:
        for member in self._company.members if self._company else [self]:
            ReportCallback._forget(member)

    def _open(self, args: Any, config: Any = None) -> Run:
        company = self._join(args)
        if not self._is_mine or (
            self.run is not None and self.run.status is None and company.cast_to == _names(company)
        ):
            return super()._open(args, config)
        if self.run is not None:  # it knows not yet who came later: go on with it as one that does
            self.run.finish()
        company.cast_to = self._report_to = _names(company)
        self._options["setup"] = {member.tracker: member._own_options for member in company.members}
        self.run_id = next((member.run_id for member in company.members if member.run_id is not None), None)
        run = super()._open(args, config)
        for member in company.members:
            member.run, member.run_id = run, run.id
        return run


def _names(company: Company) -> list[str]:
    return [member.tracker for member in company.members]


def _speaking_for_all(event: str) -> Callable[..., Control]:
    """Make a hook that reports an event once for all: the first callback does, the others are silent.

    The run is opened at the first event behind on_train_begin, when every callback of the trainer has been met.
    """
    report = getattr(ReportCallback, event)

    def hook(self: TrackerCallback, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        company = self._join(args)
        if event == "on_train_begin" and state.global_step:
            recall(self, state)
        if company.members[0] is not self:
            return None
        if event == "on_train_begin":
            company.begin = lambda: report(self, args, state, control, **kwargs)
            return None
        begin, company.begin = company.begin, None
        if begin is not None:
            begin()
            for member in company.members:
                remember(member, state)
        result: Control = report(self, args, state, control, **kwargs)
        return result

    hook.__name__, hook.__doc__ = event, report.__doc__
    return hook


for _event in EVENTS:
    if _event in vars(ReportCallback) or _event in ("on_init_end", "on_epoch_begin"):
        setattr(TrackerCallback, _event, _speaking_for_all(_event))


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


class CodeCarbonCallback(TrackerCallback):
    """The report of energy and emissions, as CodeCarbon measures them: `CodeCarbonCallback(measure_power_secs=30)`."""

    tracker = "codecarbon"


class TensorBoardCallback(TrackerCallback):
    """The report to TensorBoard: `TensorBoardCallback(log_dir="boards")`."""

    tracker = "tensorboard"
