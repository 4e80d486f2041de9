"""Which checkpoints a training keeps as artifacts, and where the one is that was just saved."""

import os
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import TrainerState
from runcast.journal.layout import RunDirectory
from runcast.redaction.console import warn
from runcast.run.options import NOTHING
from runcast.run.run import Run
from runcast.values.scalars import FALSE, TRUE

# The variables with which users of transformers ask a tracker for checkpoints, and what a plain "true" means there.
ASKED_FOR_BY = {
    "wandb": ("WANDB_LOG_MODEL", "end"),
    "mlflow": ("HF_MLFLOW_LOG_ARTIFACTS", "all"),
    "dagshub": ("HF_DAGSHUB_LOG_ARTIFACTS", "all"),
    "comet_ml": ("COMET_LOG_ASSETS", "end"),
    "clearml": ("CLEARML_LOG_MODEL", "all"),
    "dvclive": ("HF_DVCLIVE_LOG_MODEL", "end"),
}


class KeptCheckpoints:
    """The checkpoints of one training that are kept as artifacts: all of them, the best and the last, or none.

    Args:
        log_model: What the user asks for; None leaves it to the variables of the trackers.

    Raises:
        OptionError: It is something else.
    """

    def __init__(self, log_model: bool | str | None) -> None:
        self._asks_variables = log_model is None
        self._which = None if log_model is None else which_checkpoints("log_model", str(log_model), "end")
        self._last: Path | None = None

    def begin(self, run: Run) -> None:
        """Begin a training that reports to a run."""
        self._last = None
        if self._asks_variables:
            self._which = asked_for_by_variables(run)

    def add(self, run: Run, checkpoint: Path | None) -> None:
        """Note a checkpoint that was just saved, and keep it if each of them is."""
        self._last = checkpoint
        if self._which == "all" and checkpoint is not None:
            run.log_artifact(checkpoint, type="model")

    def end(self, run: Run, best: str | None) -> None:
        """Keep the best and the last one, if these are asked for."""
        if self._which != "end":
            return
        paths = {"model-best": best, "model-last": self._last}
        kept = {name: path for name, path in paths.items() if path is not None and Path(path).is_dir()}
        for name, path in kept.items():
            run.log_artifact(path, name=name, type="model")
        if not kept:
            warn("no checkpoint was kept, as none was saved. Let the trainer save some, with save_strategy.")


def which_checkpoints(option: str, word: str, plain_true: str) -> str | None:
    """Return "end", "all" or None for what an option or variable says.

    Raises:
        OptionError: It says something else.
    """
    word = word.lower()
    if word in ("end", "all", "checkpoint"):
        return "all" if word == "checkpoint" else word
    if word in TRUE:
        return plain_true
    if word in NOTHING or word in FALSE:
        return None
    raise OptionError(f"{option}={word!r} is unknown. Valid values are: end, all, false.")


def checkpoint_of(args: Any, state: TrainerState) -> Path | None:
    """Find the folder of the checkpoint that was just saved; a trial has a folder of its own."""
    root, name = Path(args.output_dir), f"checkpoint-{state.global_step}"
    found = [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def asked_for_by_variables(run: Run) -> str | None:
    """Return what the variables of the run's trackers request; "all" takes precedence."""
    directory, found = RunDirectory(run.dir), set()
    if not directory.run_json.is_file():  # not the process that reports
        return None
    for tracker in directory.load().trackers:
        variable, plain_true = ASKED_FOR_BY.get(tracker, ("", ""))
        try:
            found.add(which_checkpoints(variable, os.environ.get(variable, ""), plain_true))
        except OptionError as error:  # it is not ours, and was no error before
            warn(f"{error} No checkpoint is kept for it.")
    return "all" if "all" in found else "end" if "end" in found else None
