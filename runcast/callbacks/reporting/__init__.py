"""The report of a training to the trackers: one run from its first event to its end, in both Trainers."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from runcast.callbacks.host import RUN, is_transformers, run_id_in
from runcast.callbacks.reporting.kept_checkpoints import KeptCheckpoints, checkpoint_of
from runcast.callbacks.reporting.trials import Trials
from runcast.callbacks.reporting.values import SUMMARY, best_of, named, params_of
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.journal.records import Status
from runcast.journal.status import status_of
from runcast.redaction.console import warn
from runcast.run.identity import checkpoint_folder, write_identity
from runcast.run.lasting import LastingRun
from runcast.run.options import RunOptions, Unpack, reports_nothing
from runcast.run.run import Run
from runcast.values.numbers import is_mapping


class ReportCallback(TrainerCallback):
    """The report of a trainer to every tracker, as one run that is finished with its true status.

    A later evaluation or training continues the run, unless `again="new"`. So does a training that is resumed from a
    checkpoint, in which the file `runcast.json` names the run and its ids in every tracker. If the run's folder is
    gone, or with `resume="never"`, it is a new run, with the param `resumed_from`. Each trial of a hyper-parameter
    search is a run of its own, and all of them are one group. With `per_rank=True`, what a callback of another rank
    logs to `trainer.run` is kept under that rank's name; what the trainer itself logs is of the whole job.

    transformers has no event for an exception. An uncaught one ends the run as "failed" (an interrupt: "killed") when
    the interpreter exits. One that the script catches is known only if it happens in a `with` block of this callback,
    or if something is reported while it is handled; else the run ends as "failed" without a traceback.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        log_model: "end" (or True) keeps the best and the last checkpoint as artifacts when the training ends, "all"
            every checkpoint when it is saved. Default: what WANDB_LOG_MODEL, HF_MLFLOW_LOG_ARTIFACTS, COMET_LOG_ASSETS,
            CLEARML_LOG_MODEL and HF_DVCLIVE_LOG_MODEL ask for, each if its tracker is selected; else False.
        again: Whether a second training of the same trainer is the "same" run (the default) or a "new" one.
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`.

    Raises:
        OptionError: A tracker's name or `log_model` is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    reports = True

    def __init__(
        self,
        report_to: Any = ...,
        *,
        run: Run | None = None,
        log_model: bool | str | None = None,
        again: str = "same",
        project: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        if again not in ("same", "new"):
            raise OptionError(f"again={again!r} is unknown. Valid values are: same, new.")
        self._lasting = LastingRun(report_to, run, project=project, **options)
        self.is_on = run is not None or not reports_nothing(report_to)
        self.run_id: str | None = None  # in a checkpoint: the run that a resumed training continues
        self._options, self._again = options, again
        self._trials, self._kept = Trials(), KeptCheckpoints(log_model)
        self._ending: tuple[Status, str | None] = ("finished", None)
        self._came_from: Path | None = None
        self._epoch: tuple[int, Any] | None = None

    @property
    def run(self) -> Run | None:
        """The run, from the first training or evaluation on."""
        return self._lasting.run

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Warn that everything arrives twice, if transformers itself reports too."""
        others = getattr(args, "report_to", None)
        if is_transformers(state) and isinstance(others, list) and set(others) - {"none"}:
            warn(
                f"transformers reports to {', '.join(map(str, others))} by itself, so everything may arrive twice, and "
                'its trackers can hurt the training. Give its TrainingArguments report_to="none".'
            )

    def on_checkpoint_load(
        self, args: Any, state: TrainerState, control: TrainerControl, checkpoint: Path, **kwargs: Any
    ) -> None:
        """Note which checkpoint the training is resumed from."""
        self._came_from = checkpoint

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Choose and open the run, and log the configuration."""
        if self._trials.begin(state, is_underway=self._lasting.is_begun):
            self._lasting.break_off()
            own = self._options
            name = own.get("name") or getattr(args, "run_name", None)
            self._lasting.forget(**self._trials.options(own.get("id"), name, own.get("group")))
        elif self._again == "new" and self.run is not None and not self._lasting.is_open:
            self._lasting.forget()
        replaced = None
        if state.global_step > 0:
            replaced = self._lasting.resume(run_id_in(state), self._came_from or checkpoint_folder(args, state))
        self._came_from = None
        params = params_of(args, model) | ({} if self._trials.params is None else {"trial": self._trials.params})
        was_open = self._lasting.is_open
        run = self._lasting.begin(**self._defaults(args), config=params)
        if was_open:
            run.log_params(params)
        if replaced is not None:
            run.log_params({"resumed_from": replaced})
        self.run_id = run.id
        self._kept.begin(run)
        if is_transformers(state):
            state.stateful_callbacks[RUN] = self.state()

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, *more: Any, logs: Any = None, **kwargs: Any
    ) -> None:
        """Log the values at the optimizer step; those that a training has once are its summary.

        A subclass may pass the values by position, before or behind the model, as those of transformers' callbacks do.
        """
        logs = next((one for one in more if is_mapping(one)), None) if logs is None else logs
        run = self._open(args)
        if not state.is_world_process_zero:  # they are of the whole job; what is of one rank alone, it logs to the run
            return
        values = dict(logs or {})
        summary = {name: values.pop(key) for key, name in SUMMARY.items() if key in values}
        if summary:
            run.log_summary(summary)
            values.pop("epoch", None)
        if "epoch" in values:  # part of each log, of which a step may have several
            told, self._epoch = self._epoch, (state.global_step, values["epoch"])
            if told == self._epoch:
                del values["epoch"]
        if values:
            run.log(named(values), step=state.global_step)

    def on_predict(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Log the metrics of a prediction."""
        run = self._open(args)
        if state.is_world_process_zero:
            run.log(named(metrics), step=state.global_step)

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lay the run's identity beside the checkpoint, and keep it as an artifact, if every one was asked for."""
        run, checkpoint = self._open(args), checkpoint_of(args, state)
        if checkpoint is not None and (identity := run.identity()) is not None:
            write_identity(identity, checkpoint)
        self._kept.add(run, checkpoint)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, *_: Any, **kwargs: Any) -> None:
        """Note the best value, keep the checkpoints. Under transformers, which has no teardown, finish the run."""
        run = self._open(args)
        if state.best_metric is not None:
            run.log_summary(best_of(args, state))
        self._kept.end(run, state.best_model_checkpoint)
        if is_transformers(state):
            self._lasting.finish()

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Remember how the training ends."""
        self._ending = status_of(exception)

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Finish the run."""
        self._lasting.finish(*self._ending)
        self._ending = ("finished", None)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the run that a resumed training continues."""
        return {"args": {}, "attributes": {"run_id": self.run_id}}

    def __enter__(self) -> "ReportCallback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lasting.finish(*status_of(error))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # an event of a newer transformers, which calls every callback for every event
            return lambda *_, **__: None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _open(self, args: Any) -> Run:
        """Return the run; after its end, or for an evaluation alone, open it."""
        return self._lasting.open(**self._defaults(args))

    def _defaults(self, args: Any) -> dict[str, Any]:
        """Return the arguments of `init` that a trainer's arguments have; the user's own beat them."""
        project = getattr(args, "project", None)
        if project == "huggingface":  # the default of transformers says nothing about this project
            project = None
        return {"project": project, "name": getattr(args, "run_name", None)}
