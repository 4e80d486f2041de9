"""Casts a training to the trackers.

One run from its first event to its end, in our Trainer and in that of transformers.
"""

import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from runcast.callbacks.kept_checkpoints import asked_for_by_variables, checkpoint_of, which_checkpoints
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.journal.records import Status
from runcast.journal.status import status_of
from runcast.redaction.console import warn
from runcast.run.borrowed import Loan, borrow, lend
from runcast.run.identity import checkpoint_folder, continuation, write_identity
from runcast.run.init import check, init_for_trainer
from runcast.run.lasting import fresh_id
from runcast.run.options import RunOptions, Unpack, reports_nothing
from runcast.run.random_name import random_name
from runcast.run.run import Run
from runcast.run.status import Watch
from runcast.values.params import plain

# What a training says once, at its end.
SUMMARY = frozenset(
    (
        "train_runtime",
        "train_samples_per_second",
        "train_steps_per_second",
        "train_tokens_per_second",
        "train_loss",
        "train_mfu",
        "total_flos",
    )
)
_STATE = "runcast"  # in the state file of transformers, where a name of a class would make it construct a new callback


class ReportCallback(TrainerCallback):
    """The report of a trainer to every tracker, as one run that is finished with its true status.

    An evaluation or a training after that goes on with the same run, unless `again="new"`. So does a training that is
    resumed from a checkpoint: a small file `runcast.json` in it names the run and its ids in every tracker. Where the
    run's folder is gone, or with `resume="never"`, it is a new run, with the param `resumed_from`. Each trial of a
    hyper-parameter search is a run of its own, and all of them are one group.

    With `per_rank=True`, what a callback of another rank logs to `trainer.run` is kept under that rank's name; what
    the trainer itself logs is of the whole job, and is there once.

    transformers has no event for an exception. One that nobody catches ends the run as "failed" (an interrupt:
    "killed") when the interpreter exits. One that the script catches is known only if it happens in a `with` block of
    this callback, or if something is reported while it is handled; else the run ends as "failed" without a traceback.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        log_model: "end" (or True) keeps the best and the last checkpoint as artifacts when the training ends, "all"
            every checkpoint when it is saved. Default: what WANDB_LOG_MODEL, HF_MLFLOW_LOG_ARTIFACTS, COMET_LOG_ASSETS,
            CLEARML_LOG_MODEL and HF_DVCLIVE_LOG_MODEL ask for, each if its tracker is selected; else False.
        again: What a second training of the same trainer is: "same" (the default), the same run, or "new", a run of its
            own. An evaluation belongs to the training before it.
        options: The other arguments of `runcast.init`.

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
        **options: Unpack[RunOptions],
    ) -> None:
        if again not in ("same", "new"):
            raise OptionError(f"again={again!r} is unknown. Valid values are: same, new.")
        check("none" if run is not None else report_to, **_resumable(options))
        self._again = again
        self._came_from: Path | None = None
        self.run = run
        self.run_id: str | None = options.get("id")
        self._fresh_id = fresh_id()  # of the next run that nothing else names, also in spawned processes
        self._loan: Loan | None = None
        self._report_to = report_to
        self._options = options
        self._is_mine = run is None
        self._status: Status = "finished"
        self._error: str | None = None
        self._log_model = log_model
        self._kept: str | None = None if log_model is None else which_checkpoints("log_model", str(log_model), "end")
        self._checkpoint: Path | None = None
        self._epoch: tuple[int, Any] | None = None
        self._trial: dict[str, Any] | None = None
        self._trial_name: str | None = None
        self._trials = 0
        self._search: str | None = None
        self._watched: Watch | None = None
        self._left: weakref.finalize[..., Any] | None = None  # there while a training of transformers goes on

    @property
    def is_on(self) -> bool:
        """Tell whether anything is to be reported at all."""
        return self.run is not None or not reports_nothing(self._report_to)

    def on_init_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Warn of everything arriving twice, where transformers reports by itself too."""
        others = getattr(args, "report_to", None)
        if type(state) is not TrainerState and isinstance(others, list) and set(others) - {"none"}:
            warn(
                f"transformers reports to {', '.join(map(str, others))} by itself, so everything may arrive twice, and "
                'its trackers can hurt the training. Give its TrainingArguments report_to="none".'
            )

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the run and log what was configured."""
        self._choose_run(args, state)
        params = params_of(args, model) | ({} if self._trial is None else {"trial": self._trial})
        if self._has_run:
            self._open(args).log_params(params)
        run = self._open(args, config=params)
        if self._log_model is None:
            self._kept = asked_for_by_variables(run)
        if type(state) is not TrainerState:
            state.stateful_callbacks[_STATE] = self.state()
            self._watch(run)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log the values at the optimizer step; those that a training has once go to the summary."""
        run = self._open(args)
        if not state.is_world_process_zero:  # they are of the whole job; what is of one rank alone, it logs to the run
            return
        values = dict(logs or {})
        summary = {key: values.pop(key) for key in SUMMARY & values.keys()}
        if summary:
            run.log_summary(summary)
            values.pop("epoch", None)
        if "epoch" in values:  # told with each log, of which a step may have several
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

    def on_checkpoint_load(
        self, args: Any, state: TrainerState, control: TrainerControl, checkpoint: Path, **kwargs: Any
    ) -> None:
        """Note which checkpoint the training is resumed from."""
        self._came_from = checkpoint

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lay the run's identity beside the checkpoint, and keep it as an artifact, if every one was asked for."""
        run, self._checkpoint = self._open(args), checkpoint_of(args, state)
        identity = run.identity()
        if self._checkpoint is None or identity is None:
            return
        write_identity(identity, self._checkpoint)
        if self._kept == "all":
            run.log_artifact(self._checkpoint, type="model")

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the best value, keep the checkpoints. Under transformers, which has no teardown, finish the run."""
        run = self._open(args)
        if state.best_metric is not None:
            run.log_summary({"best_metric": state.best_metric, "best_step": state.best_global_step or 0})
        if self._kept == "end":
            paths = {"model-best": state.best_model_checkpoint, "model-last": self._checkpoint}
            kept = {name: path for name, path in paths.items() if path is not None and Path(path).is_dir()}
            for name, path in kept.items():
                run.log_artifact(path, name=name, type="model")
            if not kept:
                warn("no checkpoint was kept, as none was saved. Let the trainer save some, with save_strategy.")
        if type(state) is not TrainerState:
            self._finish()

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Remember how the training ends."""
        self._status, self._error = status_of(exception)

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Finish the run."""
        self._finish()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: which run a resumed training goes on with."""
        return {"args": {}, "attributes": {"run_id": self.run_id}}

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process, which shares an open run and opens another one for itself."""
        loan = lend(self.run) if self.run is not None and self.run.status is None else self._loan
        own = {"run": None} if self._is_mine else {}
        options = self._options if self._options.get("id") is None else {**self._options, "resume": "allow"}
        return {**self.__dict__, "_options": options, "_loan": loan, "_watched": None, "_left": None, **own}

    def __enter__(self) -> "ReportCallback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status, self._error = status_of(error)
        self._finish()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):  # an event of a newer transformers, which calls every callback for every event
            return self._ignore
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        pass

    def _choose_run(self, args: Any, state: TrainerState) -> None:
        """Decide before a training whether it goes on with the run that there is, or is another one."""
        if self._again == "new" and self._is_mine and self.run is not None and self.run.status is not None:
            self._forget()
        if self._came_from is None and state.global_step > 0:
            self._came_from = checkpoint_folder(args, state)
        trial = dict(state.trial_params or {}) if state.is_hyper_param_search else None
        # A training that begins again without having ended has got another batch size, and is the same trial.
        if trial != self._trial or (trial is not None and self._left is None):
            if self._left is not None:
                self._left()
            self._left = self._checkpoint = None
            self._trial, self._trial_name = trial, state.trial_name
            self._trials += trial is not None
            if self._is_mine:
                self._forget()
            self.run_id = self._options.get("id")
            if self.run_id is not None and trial is not None:
                self.run_id += f"-{self._trials}"
        elif trial is None and self.run_id is None and state.global_step > 0 and not os.environ.get("RUNCAST_RUN_ID"):
            self.run_id = _run_id_in(state)

    def _forget(self) -> None:
        """Let the next run be another one."""
        self.run = self.run_id = None
        self._fresh_id = fresh_id()

    @property
    def _has_run(self) -> bool:
        return self.run is not None and not (self._is_mine and self.run.status is not None)

    def _open(self, args: Any, config: Any = None) -> Run:
        if self._loan is not None:
            loan, self._loan = self._loan, None
            self.run = borrow(loan) or self.run
        if self.run is None or not self._has_run:
            project = getattr(args, "project", None)
            options: dict[str, Any] = {
                "project": None
                if project == "huggingface"
                else project,  # the default of transformers says nothing about this project
                "name": getattr(args, "run_name", None),
                **{name: value for name, value in self._options.items() if value is not None},
            }
            if (own := options.pop("config", None)) is not None:
                config = {**(config or {}), **plain(own)}
            if self._trial is not None:
                self._search = options.get("group") or self._search or options["name"] or random_name()
                numbered = options["name"] and f"{options['name']}-{self._trials}"
                options |= {"group": self._search, "name": self._trial_name or numbered}
            if options.get("id") is not None:
                options["id"] = self.run_id  # that of a trial has a number
            if self.run is not None and self.run.id == self.run_id:
                how: dict[str, Any] = {"id": self.run_id, "resume": "allow", "dir": self.run.dir.parent}
                linked = None
            else:
                how, linked = continuation(self.run_id, self._came_from, options)
            if how.get("id") is None and not options.get("id") and not os.environ.get("RUNCAST_RUN_ID"):
                how |= {"id": self._fresh_id, "resume": "allow" if self._fresh_id else None}
            self.run = init_for_trainer(report_to=self._report_to, config=config, **options | how)
            if linked is not None:
                self.run.log_params({"resumed_from": linked})
            self._came_from = None
            self.run_id = self.run.id
            self._status, self._error = "finished", None
        elif self._left is not None and self._watched is not None:
            self._watched.note()  # an evaluation while the error of the training is handled, say
        return self.run

    def _watch(self, run: Run) -> None:
        """See to it that a training which is left by an exception does not end as finished."""
        if self._left is not None:
            self._left.detach()
        if self._is_mine:
            self._watched = Watch()
            run.ending = self._watched.ending
            self._left = weakref.finalize(self, _finish_left, run)
            self._left.atexit = False  # at exit the run ends by itself

    def _finish(self) -> None:
        if self._left is not None:
            self._left.detach()
            self._left = None
        if self._is_mine and self.run is not None:
            self.run.ending = None
            self.run.finish(self._status, error=self._error)


def _resumable(options: RunOptions) -> RunOptions:
    """Let an id that the user gives be that of a run to resume, unless they say otherwise."""
    is_free = options.get("id") is None or options.get("resume") is not None
    return options if is_free else {**options, "resume": "allow"}


def named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Name the metrics; those of an evaluation with a prefix of its own, which times itself, go by that prefix."""
    own = tuple(key.removesuffix("_runtime") for key in values if key.endswith("_runtime"))
    return {metric_name(key, own): value for key, value in values.items()}


def metric_name(key: str, prefixes: Iterable[str] = ()) -> str:
    """Name a metric as the field does: eval_loss is eval/loss, test_loss test/loss, loss train/loss.

    A name with a slash stays.
    """
    if "/" in key:
        return key
    for split in ("eval", "test", *prefixes):
        if key.startswith(f"{split}_"):
            return f"{split}/{key[len(split) + 1 :]}"
    return f"train/{key}"


def params_of(args: Any, model: Any) -> dict[str, Any]:
    """Collect what was configured: the arguments, the model's configuration and its size, and its adapters (PEFT)."""
    params = plain(args)
    about = plain(getattr(model, "config", None))
    if hasattr(model, "parameters"):
        about |= {
            "class": type(model).__name__,
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
    peft = plain(getattr(model, "peft_config", None))
    return params | ({"model": about} if about else {}) | ({"peft": peft} if peft else {})


def _run_id_in(state: TrainerState) -> str | None:
    """Return the id of the run that wrote the state, in transformers' trainer or in ours."""
    for name in (_STATE, "ReportCallback"):
        saved = state.stateful_callbacks.get(name)
        if isinstance(saved, Mapping) and isinstance(found := saved.get("attributes", {}).get("run_id"), str):
            return found
    return None


def _finish_left(run: Run) -> None:
    if run.ending is not None:
        status, error = run.ending()
        run.finish(status, error=error)
