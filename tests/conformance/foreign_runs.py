"""Runs that a user opens by a service's own means: each yields a function that tells whether its run is still open."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def open_mlflow_run(folder: Path) -> Iterator[Callable[[], bool]]:
    """Open a run with MLflow's client, and name it in the environment as `mlflow run` does."""
    from mlflow import MlflowClient

    store = f"sqlite:///{folder / 'foreign.db'}"
    client = MlflowClient(store)
    run_id = client.create_run(client.create_experiment("foreign")).info.run_id
    os.environ.update(MLFLOW_TRACKING_URI=store, MLFLOW_RUN_ID=run_id)
    try:
        yield lambda: client.get_run(run_id).info.status == "RUNNING"
    finally:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
            del os.environ[name]


@contextlib.contextmanager
def open_wandb_run(folder: Path) -> Iterator[Callable[[], bool]]:
    """Open a run in this process with `wandb.init`."""
    import wandb

    with wandb.init(dir=folder, project="foreign") as run:
        run.log({"own": 1})
        yield lambda: wandb.run is run


@contextlib.contextmanager
def open_comet_run(folder: Path) -> Iterator[Callable[[], bool]]:
    """Open an offline experiment in this process."""
    import comet_ml

    experiment = comet_ml.OfflineExperiment(project_name="foreign", offline_directory=str(folder / "foreign"))
    try:
        yield lambda: not experiment.ended
    finally:
        experiment.end()


@contextlib.contextmanager
def open_clearml_run(folder: Path) -> Iterator[Callable[[], bool]]:
    """Open an offline task in this process."""
    from clearml import Task
    from clearml.config import config_obj

    config_obj.set_overrides({"sdk": {"development": {"report_use_subprocess": False}}})  # closing it may take minutes
    Task.set_offline(True)
    task = Task.init("foreign", "foreign", reuse_last_task_id=False, auto_connect_frameworks=False)
    try:
        yield lambda: Task.current_task() is task
    finally:
        task.close()
