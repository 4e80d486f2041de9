"""Runs that the script has opened itself with a tracker's own SDK, read back with that SDK.

MLflow can be written to from another process, so its run is joined by id. For the others `init` says what happens.
"""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runcast.integrations.open_runs import absolute_uri
from tests import warm
from tests.integrations.driving import OURS, MlflowServer

READ_MLFLOW = """
import json, sys
from mlflow import MlflowClient
client, found = MlflowClient(sys.argv[1]), []
for run in client.search_runs([e.experiment_id for e in client.search_experiments()]):
    metrics = {key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}
    found.append([run.info.run_name, run.info.status, run.data.params, metrics])
print(json.dumps(found))
"""
ROOT = Path(__file__).parents[2]
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "ERROR", "WANDB_SILENT": "true"}
QUIET |= {"COMET_DISABLE_AUTO_LOGGING": "1", "COMET_AUTO_LOG_CO2": "0", "COMET_AUTO_LOG_ENV_DETAILS": "0"}
RUNCAST = "import runpy; runpy.run_module('runcast', run_name='__main__')"
LOSSES = [[0, 1.0], [1, 0.5], [2, 0.25]]


def python(code: str, cwd: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a script."""
    kept = {name: value for name, value in os.environ.items() if name != OURS}
    script = cwd / "script.py"
    script.write_text(code)
    variables = {**kept, **QUIET, "PYTHONPATH": str(ROOT), **environment}
    return warm.run(
        warm.MLFLOW if "mlflow" in code else warm.SDK_NEEDS,
        [script, *arguments],
        folder=cwd,
        environment=variables,
    )


def in_mlflow(store: str, cwd: Path) -> list[list[Any]]:
    """List each run that MLflow's own client sees: its name, status, params and points."""
    done = python(READ_MLFLOW, cwd, store)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def verify(cwd: Path) -> dict[str, Any]:
    """Return the verdict on the newest run."""
    done = python(RUNCAST, cwd, "verify", "--json")
    [verdict] = json.loads(done.stdout)
    return {**verdict, "code": done.returncode}


AROUND = """
import mlflow, runcast
with mlflow.start_run(run_name="theirs") as theirs:
    mlflow.log_param("own", "text")
    mlflow.log_metric("own", 7.0, step=1)
    run = runcast.init("p", "ours", {"lr": 0.1}, report_to="mlflow")
    for step, value in enumerate((1.0, 0.5, 0.25)):
        run.log({"loss": value}, step=step)
    run.finish()
    assert mlflow.MlflowClient().get_run(theirs.info.run_id).info.status == "RUNNING"
    assert mlflow.active_run().info.run_id == theirs.info.run_id
    mlflow.log_metric("own", 8.0, step=2)
"""
ENDED_BEFORE = """
import mlflow, runcast
mlflow.start_run(run_name="theirs")
run = runcast.init("p", "ours", {"lr": 0.1}, report_to="mlflow")
for step, value in enumerate((1.0, 0.5, 0.25)):
    run.log({"loss": value}, step=step)
mlflow.end_run()
run.finish("failed")
"""
TWO_IN_ONE = """
import mlflow, runcast
with mlflow.start_run(run_name="theirs"):
    for first, name in ((0, "one"), (2, "two")):
        with runcast.init("p", name, {"lr": 0.1}, report_to="mlflow") as run:
            for step, value in list(enumerate((1.0, 0.5, 0.25)))[first : first + 2]:
                run.log({"loss": value}, step=step)
    assert mlflow.MlflowClient().get_run(mlflow.active_run().info.run_id).info.status == "RUNNING"
"""
KILLED = """
import os, mlflow, runcast
mlflow.start_run(run_name="theirs")
run = runcast.init("p", "ours", {"lr": 0.1}, report_to="mlflow")
for step, value in enumerate((1.0, 0.5, 0.25)):
    run.log({"loss": value}, step=step)
assert run.flush(600)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("script", "status"),
    [(AROUND, "FINISHED"), (ENDED_BEFORE, "FINISHED"), (TWO_IN_ONE, "FINISHED"), (KILLED, "RUNNING")],
    ids=["around ours", "ended before ours", "two trainings in one", "killed"],
)
def test_an_open_mlflow_run_is_joined_by_the_default_delivery_and_its_end_is_the_users(
    tmp_path: Path, script: str, status: str
) -> None:
    """There is one run, with every param and point once; its status is what the script itself made of it."""
    done = python(script, tmp_path)

    assert done.returncode == (-signal.SIGKILL if script == KILLED else 0), done.stderr
    assert (
        done.stderr.count("mlflow writes into the run 'theirs', which this script has opened")
        == script.count("for first") + 1
    )
    if script == KILLED:
        python(RUNCAST, tmp_path, "sync")
    [[name, ended, params, metrics]] = in_mlflow(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert (name, ended) == ("theirs", status)
    assert params == {"lr": "0.1", **({"own": "text"} if script == AROUND else {})}
    assert metrics["loss"] == LOSSES
    verdict = verify(tmp_path)
    assert (verdict["code"], verdict["missing"], verdict["extra"]) == (0, 0, 0)


LATER = """
import json, sys, mlflow, runcast
from pathlib import Path
mlflow.set_tracking_uri(sys.argv[1])
mlflow.start_run(run_name="theirs")
run = runcast.init("p", "ours", {"lr": 0.1}, report_to="mlflow", delivery="later")
for step, value in enumerate((1.0, 0.5, 0.25)):
    run.log({"loss": value}, step=step)
run.finish()
mlflow.end_run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite:///theirs.db", "server"])
def test_a_joined_run_is_delivered_later_from_anywhere(tmp_path: Path, store: str, mlflow_server: MlflowServer) -> None:
    """`runcast sync` finds the joined run, from another directory too, and leaves it as its owner ended it."""
    uri = mlflow_server.url if store == "server" else store
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = python(LATER, tmp_path, uri)
    assert done.returncode == 0, done.stderr

    synced = python(RUNCAST, elsewhere, "sync", "--dir", str(tmp_path / "runs"))

    assert synced.returncode == 0, synced.stdout + synced.stderr
    found = in_mlflow(uri, tmp_path)  # on the server also what other tests have there
    [[name, status, params, metrics]] = [run for run in found if run[0] in ("theirs", "ours")]
    assert (name, status, params, metrics["loss"]) == ("theirs", "FINISHED", {"lr": "0.1"}, LOSSES)


CHOICES = """
import json, mlflow, runcast
from pathlib import Path

def init(name, **arguments):
    run = runcast.init("p", name, report_to="mlflow", delivery="later", **arguments)
    run.finish()
    choice = json.loads(Path(run.dir, "run.json").read_text())["trackers"]["mlflow"]
    print(name, choice["options"].get("run_id") == theirs, choice["online"])

theirs = mlflow.start_run(run_name="theirs").info.run_id
init("joined")
init("experiment", setup={"mlflow": {"experiment_name": "mine"}})
init("child", setup={"mlflow": {"parent_run_id": theirs}})
mlflow.set_tracking_uri("http://127.0.0.1:9")
init("server")
init("offline", offline=True)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.end_run()
init("none")
"""


def test_a_run_of_ones_own_choice_is_not_joined(tmp_path: Path) -> None:
    """Who names an experiment, a parent or a store gets a run there; `offline=True` writes to no server, and says so."""
    done = python(CHOICES, tmp_path)

    assert done.stdout.splitlines() == [
        "joined True False",
        "experiment False False",
        "child False False",
        "server True True",
        "offline False False",
        "none False False",
    ], done.stderr
    said = [line for line in done.stderr.splitlines() if "which this script has opened" in line]
    assert [line.removeprefix("runcast:   mlflow ") for line in said] == [
        "writes into the run 'theirs', which this script has opened, and leaves it open",
        "writes into the run 'theirs', which this script has opened, and leaves it open",
        "opens a run of its own; to write into 'theirs', which this script has opened, leave out offline=True",
    ]


OPENERS = {
    "wandb": 'import wandb; wandb.init(project="p", name="theirs", mode="offline")',
    "comet_ml": (
        "import comet_ml; comet_ml.OfflineExperiment(project_name='p', offline_directory='.').set_name('theirs')"
    ),
    "clearml": "import clearml; clearml.Task.set_offline(True); clearml.Task.init('p', 'theirs')",
}


@pytest.mark.parametrize("name", OPENERS)
def test_an_open_run_that_cannot_be_joined_from_another_process_is_named_at_init(tmp_path: Path, name: str) -> None:
    """One sentence says that there will be a second run, and how to have one only."""
    script = (
        f"{OPENERS[name]}\nimport runcast\nruncast.init('p', 'ours', report_to={name!r}, delivery='later').finish()"
    )

    done = python(script, tmp_path)

    [said] = [line for line in done.stderr.splitlines() if "which this script has opened" in line]
    how = "to write into 'theirs', which this script has opened, choose delivery='thread'"
    assert said == f"runcast:   {name} opens a run of its own; {how}"


@pytest.mark.parametrize(
    ("name", "variable", "value", "option"),
    [
        ("wandb", "WANDB_RUN_ID", "theirs", "id"),
        ("comet_ml", "COMET_EXPERIMENT_KEY", "0123456789abcdef0123456789abcdef", "experiment_key"),
    ],
)
def test_the_second_run_never_takes_the_id_of_the_open_one(
    tmp_path: Path, name: str, variable: str, value: str, option: str
) -> None:
    """An id in the environment is the script's: two processes would overwrite each other's points in one run."""
    script = (
        f"{OPENERS[name]}\nimport runcast\nruncast.init('p', 'ours', report_to={name!r}, delivery='later').finish()"
    )

    done = python(script, tmp_path, **{variable: value})

    [file] = tmp_path.glob("runs/*/run.json")
    chosen = json.loads(file.read_text())["trackers"][name]["options"]
    assert set(chosen) == {option}, done.stderr
    assert chosen[option] != value


def test_a_disabled_wandb_run_is_no_open_run(tmp_path: Path) -> None:
    """What is logged to `wandb.init(mode="disabled")` goes nowhere, so it is not joined, in a thread either."""
    script = """
import wandb, runcast
wandb.init(mode="disabled")
with runcast.init("p", "ours", report_to="wandb", delivery="thread") as run:
    run.log({"loss": 0.5}, step=3)
"""
    done = python(script, tmp_path)

    assert "which this script has opened" not in done.stderr
    verdict = verify(tmp_path)
    assert (verdict["found"], verdict["code"]) == (1, 0), verdict


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("sqlite:///x.db", "sqlite:////home/me/x.db"),
        ("sqlite:////data/x.db", "sqlite:////data/x.db"),
        ("./mlruns", "/home/me/mlruns"),
        ("file:mlruns", "file:/home/me/mlruns"),
        ("file:///data/mlruns", "file:///data/mlruns"),
        ("http://user:word@server:5000", "http://user:word@server:5000"),
        ("databricks", "databricks"),
        ("databricks-uc://profile", "databricks-uc://profile"),
        ("azureml://west.example/x", "azureml://west.example/x"),
        ("postgresql+psycopg2://u@h/db", "postgresql+psycopg2://u@h/db"),
        ("", ""),
    ],
)
def test_an_address_means_the_same_in_every_directory(monkeypatch: pytest.MonkeyPatch, uri: str, absolute: str) -> None:
    """A delivery may run elsewhere than the script that chose a relative path."""
    monkeypatch.setattr(os, "getcwd", lambda: "/home/me")

    assert absolute_uri(uri) == absolute
