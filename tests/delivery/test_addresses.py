"""The command with which a person opens a run, as `status`, `show`, `sync` and `verify` print it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runcast.delivery.addresses import open_command, place
from runcast.history.overview import overview
from runcast.journal.layout import RunDirectory
from runcast.journal.state import DeliveryState, save_state
from tests.integrations.driving import paths_in
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
LOCAL = ("swanlab", "trackio", "wandb", "comet_ml", "tensorboard", "dvclive", "clearml", "mlflow")


@pytest.mark.slow
@pytest.mark.parametrize("name", [marked(name) for name in LOCAL])
def test_a_printed_command_names_files_that_are_there(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its paths are expanded by a shell, as they are when somebody pastes it, and each of them leads to something."""
    command = [sys.executable, "-c", TRAINING, name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    (tracker,) = overview(RunDirectory(Path("runs/run"))).trackers

    assert tracker.open_command is not None
    assert [path for path, is_there in paths_in(tracker.open_command).items() if not is_there] == []
