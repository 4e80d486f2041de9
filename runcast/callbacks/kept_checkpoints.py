"""Which checkpoints a training keeps as artifacts, and where the one is that was just saved."""

import os
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.core.events import TrainerState
from runcast.journal.layout import RunDirectory
from runcast.redaction.console import warn
from runcast.run.options import FALSE, NOTHING, TRUE
from runcast.run.run import Run

# The variables with which users of transformers ask a tracker for checkpoints, and what a plain "true" means there.
ASKED_FOR_BY = {
    "wandb": ("WANDB_LOG_MODEL", "end"),
    "mlflow": ("HF_MLFLOW_LOG_ARTIFACTS", "all"),
    "comet_ml": ("COMET_LOG_ASSETS", "end"),
    "clearml": ("CLEARML_LOG_MODEL", "all"),
    "dvclive": ("HF_DVCLIVE_LOG_MODEL", "end"),
}


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
    """Find the folder of the checkpoint that was just saved; that of a trial lies in a folder of the trial's own."""
    root, name = Path(args.output_dir), f"checkpoint-{state.global_step}"
    found = [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir()]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def asked_for_by_variables(run: Run) -> str | None:
    """Return what the variables of the run's trackers ask for; the run has one answer, and "all" is the strongest."""
    if not (run.dir / "run.json").is_file():  # not the process that reports
        return None
    found = set()
    for tracker in RunDirectory(run.dir).load().trackers:
        variable, plain_true = ASKED_FOR_BY.get(tracker, ("", ""))
        try:
            found.add(which_checkpoints(variable, os.environ.get(variable, ""), plain_true))
        except OptionError as error:  # it is not ours, and was no error before
            warn(f"{error} No checkpoint is kept for it.")
    return "all" if "all" in found else "end" if "end" in found else None
