"""Casts a training to the trackers.

One run from its first event to its end, in our Trainer and in that of transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.core.identity import checkpoint_folder, continuation, write_identity
from runcast.core.init import check_report_to, init
from runcast.core.records import Status
from runcast.core.run import Run
from runcast.core.status import status_of

# What a training says once, at its end.
SUMMARY = frozenset(
    ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "train_mfu", "total_flos")
)
_OFF = ("", "none", "no", "off", "false")


class ReportCallback(TrainerCallback):
    """Opens a run when there is something to report, logs what the trainer logs, finishes it with its true status.

    An evaluation or a training after that goes on with the same run, unless `again="new"`. So does a training that is
    resumed from a checkpoint: a small file `runcast.json` in it names the run and its ids in every tracker. Where the
    run's folder is gone, or with `resume="never"`, it is a new run, with the param `resumed_from`.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        again: What a second training of the same trainer is: "same" (the default), the same run, or "new", a run of its
            own. An evaluation belongs to the training before it.
        options: The other arguments of `runcast.init`.

    Raises:
        OptionError: A tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    reports = True

    def __init__(self, report_to: Any = ..., *, run: Run | None = None, again: str = "same", **options: Any) -> None:
        if again not in ("same", "new"):
            raise OptionError(f"again={again!r} is unknown. Valid values are: same, new.")
        self._again = again
        self._came_from: Path | None = None
        self.run = run
        self.run_id: str | None = options.get("id")
        self._report_to = report_to
        self._options = options
        self._is_mine = run is None
        self._status: Status = "finished"
        self._error: str | None = None
        if run is None and self.is_on:
            check_report_to(report_to, options.get("offline"))

    @property
    def is_on(self) -> bool:
        """Tell whether anything is to be reported at all."""
        chosen = self._report_to
        return self.run is not None or chosen is ... or (bool(chosen) and str(chosen).lower() not in _OFF)

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the run and log what was configured."""
        if self._again == "new" and self._is_mine and self.run is not None and self.run.status is not None:
            self.run = self.run_id = None
        if self._came_from is None and state.global_step > 0:
            self._came_from = checkpoint_folder(args, state)
        params = params_of(args, model)
        if self._has_run:
            self._open(args).log_params(params)
        else:
            self._open(args, config=params)

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
        values = dict(logs or {})
        summary = {key: values.pop(key) for key in SUMMARY & values.keys()}
        if summary:
            run.log_summary(summary)
            values.pop("epoch", None)
        if values:
            run.log({metric_name(key): value for key, value in values.items()}, step=state.global_step)

    def on_predict(
        self, args: Any, state: TrainerState, control: TrainerControl, metrics: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Log the metrics of a prediction."""
        self._open(args).log({metric_name(key): value for key, value in metrics.items()}, step=state.global_step)

    def on_checkpoint_load(
        self, args: Any, state: TrainerState, control: TrainerControl, checkpoint: Path, **kwargs: Any
    ) -> None:
        """Note which checkpoint the training is resumed from."""
        self._came_from = checkpoint

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Lay the run's identity beside the checkpoint."""
        identity, folder = self._open(args).identity(), checkpoint_folder(args, state)
        if identity is not None and folder is not None:
            write_identity(identity, folder)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the best value. Under transformers, which has no teardown, the run is finished here."""
        run = self._open(args)
        if state.best_metric is not None:
            run.log_summary({"best_metric": state.best_metric, "best_step": state.best_global_step or 0})
        if type(state) is not TrainerState:
            self._finish()

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Remember how the training ends."""
        self._status, self._error = status_of(exception)
        if isinstance(exception, SystemExit) and exception.code == 143:  # SIGTERM, see runcast/trainer/termination.py
            self._status, self._error = "killed", None

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Finish the run."""
        self._finish()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: which run a resumed training goes on with."""
        return {"args": {}, "attributes": {"run_id": self.run_id}}

    @property
    def _has_run(self) -> bool:
        return self.run is not None and not (self._is_mine and self.run.status is not None)

    def _open(self, args: Any, config: Any = None) -> Run:
        if self.run is None or not self._has_run:
            project = getattr(args, "project", None)
            options = {
                "project": None
                if project == "huggingface"
                else project,  # the default of transformers says nothing about this project
                "name": getattr(args, "run_name", None),
                **{name: value for name, value in self._options.items() if value is not None},
            }
            if self.run is not None and self.run.id == self.run_id:
                how: dict[str, Any] = {"id": self.run_id, "resume": "allow", "dir": self.run.dir.parent}
                linked = None
            else:
                how, linked = continuation(self.run_id, self._came_from, options)
            self.run = init(report_to=self._report_to, config=config, **options | how)
            if linked is not None:
                self.run.log_params({"resumed_from": linked})
            self._came_from = None
            self.run_id = self.run.id
            self._status, self._error = "finished", None
        return self.run

    def _finish(self) -> None:
        if self._is_mine and self.run is not None:
            self.run.finish(self._status, error=self._error)


def metric_name(key: str) -> str:
    """Name a metric as the field does: eval_loss is eval/loss, test_loss test/loss, loss train/loss.

    A name with a slash stays.
    """
    if "/" in key:
        return key
    for split in ("eval", "test"):
        if key.startswith(f"{split}_"):
            return f"{split}/{key[len(split) + 1 :]}"
    return f"train/{key}"


def params_of(args: Any, model: Any) -> dict[str, Any]:
    """Collect what was configured: the arguments, the model's configuration and its size."""
    params: dict[str, Any] = dict(args.to_dict()) if hasattr(args, "to_dict") else dict(vars(args))
    config: Any = getattr(model, "config", None)
    about = (
        dict(config.to_dict()) if hasattr(config, "to_dict") else dict(config) if isinstance(config, Mapping) else {}
    )
    if hasattr(model, "parameters"):
        about |= {
            "class": type(model).__name__,
            "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        }
    return params | ({"model": about} if about else {})
