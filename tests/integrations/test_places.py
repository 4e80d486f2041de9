"""Where a tracker writes: what its options and variables say is what it reads, resumes and names in its command."""

from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.delivery.addresses import open_command, place
from runcast.journal.layout import RunDirectory
from runcast.journal.state import DeliveryState, save_state
from tests import warm
from tests.integrations.driving import driver, paths_in
from tests.second_rank import marked

FILE_STORE = {"MLFLOW_ALLOW_FILE_STORE": "true"}
# The tracker, the user's variables and options, and what must be there then, from the script's working directory.
ROWS: list[tuple[str, dict[str, str], dict[str, Any], str]] = [
    ("wandb", {}, {}, "runs/run/trackers/wandb/wandb/offline-run-*/run-run.wandb"),
    ("wandb", {"WANDB_DIR": "else where"}, {}, "else where/wandb/offline-run-*/run-run.wandb"),
    ("wandb", {}, {"dir": "else where"}, "else where/wandb/offline-run-*/run-run.wandb"),
    ("wandb", {"WANDB_USE_DOT_WANDB": "1"}, {}, "runs/run/trackers/wandb/.wandb/offline-run-*/run-run.wandb"),
    ("wandb", {"WANDB__FILES_DIR": "a/b/c"}, {}, "runs/run/trackers/wandb/wandb/offline-run-*/run-run.wandb"),
    ("wandb", {"WANDB__SYNC_DIR_SUFFIX": "x"}, {}, "runs/run/trackers/wandb/wandb/offline-run-*-run-x/run-run.wandb"),
    ("wandb", {"WANDB_RUN_ID": "a-b"}, {}, "runs/run/trackers/wandb/wandb/offline-run-*-a-b/run-a-b.wandb"),
    ("comet_ml", {}, {}, "runs/run/trackers/comet_ml/*.zip"),
    ("comet_ml", {"COMET_OFFLINE_DIRECTORY": "else where"}, {}, "else where/*.zip"),
    ("comet_ml", {}, {"offline_directory": "else where"}, "else where/*.zip"),
    ("comet_ml", {"COMET_OFFLINE_DIRECTORY": "~/x"}, {}, "home/x/*.zip"),
    ("comet_ml", {"COMET_EXPERIMENT_KEY": "k" * 32}, {}, f"runs/run/trackers/comet_ml/{'k' * 32}*.zip"),
    ("comet_ml", {"COMET_START_MODE": "create"}, {}, "runs/run/trackers/comet_ml/*.zip"),
    ("clearml", {}, {}, "runs/run/trackers/clearml/offline/offline-*/task.json"),
    ("clearml", {"CLEARML_CACHE_DIR": "else where"}, {}, "else where/offline/offline-*/task.json"),
    ("clearml", {"TRAINS_CACHE_DIR": "else where"}, {}, "else where/offline/offline-*/task.json"),
    ("clearml", {"CLEARML_DEFAULT_OUTPUT_URI": "else where"}, {}, "runs/run/trackers/clearml/offline/offline-*/data"),
    ("mlflow", {}, {}, "runs/mlflow.db"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///else where/x.db"}, {}, "else where/x.db"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "else where", **FILE_STORE}, {}, "else where/*/*/meta.yaml"),
    ("mlflow", {"MLFLOW_TRACKING_URI": "file:./x", **FILE_STORE}, {}, "x/*/*/meta.yaml"),
    ("mlflow", {}, {"tracking_uri": "sqlite:///x.db"}, "x.db"),
    ("mlflow", {"MLFLOW_ENABLE_ASYNC_LOGGING": "true"}, {}, "runs/mlflow.db"),
    ("dvclive", {}, {}, "runs/run/trackers/dvclive/dvclive/metrics.json"),
    ("dvclive", {}, {"dir": "else where"}, "else where/metrics.json"),
    ("dvclive", {"DVCLIVE_TEST": "1"}, {}, "runs/run/trackers/dvclive/dvclive/metrics.json"),
    ("dvclive", {"DVCLIVE_RESUME": "1"}, {}, "runs/run/trackers/dvclive/dvclive/metrics.json"),
    ("tensorboard", {}, {}, "runs/run/trackers/tensorboard/events.out.tfevents.*"),
    ("tensorboard", {"TENSORBOARD_LOGGING_DIR": "else where"}, {}, "else where/run/events.out.tfevents.*"),
    ("tensorboard", {}, {"log_dir": "~/x"}, "home/x/run/events.out.tfevents.*"),
    ("swanlab", {"SWANLAB_LOG_DIR": "else where"}, {}, "else where/run-*-run/run-*.swanlab"),
    ("swanlab", {}, {"log_dir": "else where"}, "else where/run-*-run/run-*.swanlab"),
    ("trackio", {"TRACKIO_DIR": "else where"}, {}, "else where/*.db"),
    ("trackio", {}, {"dir": "else where"}, "else where/*.db"),
    ("aim", {}, {"repo": "else where"}, "else where/.aim"),
]


def log(step: int) -> list[Any]:
    """Write a call that logs a point."""
    return ["log_metrics", [["loss", 0.5, step, 1.7e9]]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variables"),
    [
        marked("wandb", {"WANDB_DIR": "."}),
        marked("comet_ml", {"COMET_OFFLINE_DIRECTORY": "."}),
        marked("clearml", {"CLEARML_CACHE_DIR": "."}),
        marked("mlflow", {"MLFLOW_TRACKING_URI": "sqlite:///x.db"}),
        marked("tensorboard", {"TENSORBOARD_LOGGING_DIR": "."}),
        marked("swanlab", {"SWANLAB_LOG_DIR": "."}),
        marked("trackio", {"TRACKIO_DIR": "."}),
    ],
)
def test_a_run_stays_where_it_began(name: str, variables: dict[str, str], tmp_path: Path) -> None:
    """A variable that is set for a later session only changes nothing."""
    drive = driver(name, warm.MLFLOW if name == "mlflow" else warm.SDK_NEEDS)
    run, end, read = tmp_path / "runs" / "run", ["finish", "finished"], ["read", {}]

    drive(run, ["setup", {}], log(1), end)
    drive(run, ["setup", {"resumed": True}], log(2), end, **variables)
    (seen,) = drive(run, read)

    assert seen["points"] == [["loss", 0.5, 1], ["loss", 0.5, 2]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variables", "options", "expected"), [marked(*row) for row in ROWS])
def test_a_run_is_found_where_the_user_has_put_it(
    name: str,
    variables: dict[str, str],
    options: dict[str, Any],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader, the next session and the printed command find it from another folder and without the variables."""
    monkeypatch.chdir(tmp_path)
    Path("else where").mkdir()
    other = tmp_path / "other"
    other.mkdir()
    begun = runcast.init("p", report_to="none", dir="runs", id="run", delivery="later")
    begun.finish()
    run, drive = Path(begun.dir).absolute(), driver(name, warm.MLFLOW if name == "mlflow" else warm.SDK_NEEDS)
    end, read = ["finish", "finished"], ["read", {"options": options}]

    drive(run, ["setup", {"options": options}], log(1), end, cwd=tmp_path, **variables)

    assert list(tmp_path.glob(expected))
    monkeypatch.chdir(other)
    resume = ["setup", {"options": options, "resumed": True}]
    seen, again, *_, then = drive(run, read, resume, log(2), end, read, cwd=other)
    assert seen["points"] == [["loss", 0.5, 1]]
    assert then["points"] == [["loss", 0.5, 1], ["loss", 0.5, 2]]
    directory, state = RunDirectory(run), DeliveryState(url=again["url"], ids=again["ids"])
    save_state(directory.tracker(name), state)
    command = open_command(directory, name, place(directory, name, state))
    assert command is not None
    assert [path for path, is_there in paths_in(command).items() if not is_there] == [], command
