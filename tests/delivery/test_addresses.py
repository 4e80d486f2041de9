"""The command with which a person opens a run, as `status`, `show`, `sync` and `verify` print it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runcast.delivery.addresses import open_command, place
from runcast.history.overview import overview
from runcast.journal.layout import RunDirectory
from runcast.journal.state import DeliveryState, save_state
from tests.second_rank import marked

Make = Callable[..., RunDirectory]


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        ("databricks", None),
        ("databricks-uc://profile", None),
        ("azureml://west.api.azureml.ms/mlflow/v1.0/x", None),
        ("http://127.0.0.1:5000/#/experiments/1/runs/2", None),
        ("sqlite:////data/my runs/mlflow.db", "mlflow ui --backend-store-uri 'sqlite:////data/my runs/mlflow.db'"),
        ("postgresql://server/db", "mlflow ui --backend-store-uri postgresql://server/db"),
        ("file:/data/mlruns", "mlflow ui --backend-store-uri file:/data/mlruns"),
    ],
)
def test_a_service_needs_no_command_and_a_store_does(make_run: Make, uri: str, command: str | None) -> None:
    """An address of a service is shown as it is: `mlflow ui` could not open it."""
    directory = make_run()
    folder = directory.tracker("mlflow")
    folder.mkdir(parents=True)
    state = DeliveryState(url=uri)
    save_state(folder, state)

    where = place(directory, "mlflow", state)

    assert (where, open_command(directory, "mlflow", where)) == (uri, command)


TRAINING = """
import sys, runcast
with runcast.init("p", report_to=sys.argv[1], id="run", offline=True) as run:
    run.log({"loss": 0.5}, step=1)
"""
# TensorBoard is given the name of a run with its folder.
PATHS = """
import json, os, sys
words = [word.removeprefix("sqlite:///").removeprefix("TRACKIO_DIR=") for word in sys.argv[1:] if "/" in word or "." in word]
paths = [word.rpartition(":")[2] for word in words]
print(json.dumps({path: os.path.exists(path) for path in paths}))
"""
CASES = {
    "swanlab": ("swanlab", {}),
    "swanlab elsewhere": ("swanlab", {"SWANLAB_LOG_DIR": "else where"}),
    "trackio": ("trackio", {}),
    "trackio elsewhere": ("trackio", {"TRACKIO_DIR": "else where"}),
    "wandb": ("wandb", {}),
    "wandb elsewhere": ("wandb", {"WANDB_DIR": "else where"}),
    "comet": ("comet_ml", {}),
    "comet elsewhere": ("comet_ml", {"COMET_OFFLINE_DIRECTORY": "else where"}),
    "tensorboard": ("tensorboard", {}),
    "dvclive": ("dvclive", {}),
    "clearml": ("clearml", {}),
    "clearml elsewhere": ("clearml", {"CLEARML_CACHE_DIR": "else where"}),
    "mlflow": ("mlflow", {}),
    "mlflow elsewhere": ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///else where/x.db"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", [pytest.param(case, marks=marked(CASES[case][0]).marks) for case in CASES])
def test_a_printed_command_names_files_that_are_there(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its paths are expanded by a shell, as they are when somebody pastes it, and each of them leads to something."""
    name, variables = CASES[case]
    (tmp_path / "else where").mkdir()
    command = [sys.executable, "-c", TRAINING, name]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    (tracker,) = overview(RunDirectory(Path("runs/run"))).trackers

    assert tracker.open_command is not None
    tool = tracker.open_command.removeprefix("(cd ").partition("&& ")[2] or tracker.open_command
    script = f"{tool.split()[0]}() {{ '{sys.executable}' -c '{PATHS}' \"$@\"; }}; {tracker.open_command}"
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    paths = json.loads(found)
    assert paths
    assert [path for path, is_there in paths.items() if not is_there] == [], tracker.open_command
