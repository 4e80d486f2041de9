"""Start an experiment quietly, in folders of the run's own, and end it at the time of the training.

Seen in comet_ml 3.43.2 and 3.58.8, 2026-11-20.
"""

import contextlib
import inspect
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import comet_ml
from comet_ml.messages import GitMetadataMessage

from runcast.core.errors import RetryableError
from runcast.integrations.comet_ml.sessions import OPEN, SENT, archive_folder
from runcast.integrations.contract import TrackedRun

VARIABLES: Mapping[str, str] = {
    "tags": "COMET_START_EXPERIMENT_TAGS",
    "name": "COMET_START_EXPERIMENT_NAME",
    "mode": "COMET_START_MODE",
    "workspace": "COMET_WORKSPACE",
    "project": "COMET_PROJECT_NAME",
    "experiment_key": "COMET_EXPERIMENT_KEY",
    "offline_directory": "COMET_OFFLINE_DIRECTORY",
}
PROJECT = "project_name" if "project_name" in inspect.signature(comet_ml.start).parameters else "project"  # in 3.43.2
CONFIG_OPTIONS = frozenset(inspect.signature(comet_ml.ExperimentConfig).parameters)
QUIET: Mapping[str, Any] = {
    "auto_log_co2": False,
    "auto_metric_logging": False,
    "auto_output_logging": False,
    "auto_param_logging": False,
    "display_summary_level": 0,
    "log_code": False,
    "log_env_details": False,
    "log_git_metadata": False,
    "log_git_patch": False,
    "log_graph": False,
    "parse_args": False,
}


def start(run: TrackedRun, *, online: bool) -> Any:
    """Start an experiment, or the next session of one."""
    folder = run.local / SENT if online else archive_folder(run)
    config = {
        **QUIET,
        **{key: value for key, value in run.options.items() if key in CONFIG_OPTIONS},
        "name": run.setting("name"),
        "tags": run.words("tags") or None,
        "offline_directory": str(folder),
    }
    arguments = {
        **{key: value for key, value in run.options.items() if key not in CONFIG_OPTIONS | VARIABLES.keys()},
        "online": online,
        "mode": "get_or_create" if run.resumed else run.setting("mode") or "get_or_create",
        "experiment_key": run.ids["key"],
        "workspace": run.setting("workspace"),
        PROJECT: run.options.get(PROJECT) or run.setting("project"),
    }
    for needed in (folder, run.local / OPEN):
        needed.mkdir(parents=True, exist_ok=True)
    with _temporary_files_in(run.local / OPEN):
        experiment = comet_ml.start(**arguments, experiment_config=comet_ml.ExperimentConfig(**config))
    if not experiment.alive:
        experiment.end()
        raise RetryableError("Comet did not open the experiment; its own message is in the log.")
    if online:  # the reader needs it, whatever COMET_FALLBACK_STREAMER_KEEP_OFFLINE_ZIP says
        experiment.streamer.keep_offline_zip = True
    if run.script:
        experiment.set_filename(run.script)
    if (at := run.source) is not None:  # as the SDK does where it reads them itself
        names = dict.fromkeys(("user", "root", "status", "repo_name"))
        told = {**names, "parent": at.commit, "branch": at.branch, "origin": at.remote}
        experiment._enqueue_message(GitMetadataMessage(git_metadata=told))
    if not online:
        experiment.start_time = int(run.created * 1000)
    return experiment


def end_at(experiment: Any, moment: float) -> None:
    """Let an archive have the time at which the training ended: `end` would write the present time into it."""
    write: Any = getattr(experiment, "_write_experiment_meta_file", None)

    def write_with_time() -> None:
        experiment.stop_time = int(moment * 1000)
        write()

    if write is not None:
        experiment._write_experiment_meta_file = write_with_time


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let Comet make its working folders where the next process finds them if this one is killed."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before
