"""`runcast doctor`."""

import json
import sys
from pathlib import Path

import pytest

from runcast.autodetect.health import examine
from runcast.integrations.table import TABLE


def test_doctor_knows_every_tracker(cli) -> None:  # type: ignore[no-untyped-def]
    """Each row of the table is there, with its version, its mode and where a run would go."""
    answer = cli("doctor", "--json")

    assert answer.status == 0
    trackers = {tracker["name"]: tracker for tracker in json.loads(answer.out)["trackers"]}
    assert list(trackers) == list(TABLE)
    assert trackers["tensorboard"]["mode"] == "local"
    assert trackers["tensorboard"]["where"] == "runs/*/trackers/tensorboard"
    assert trackers["mlflow"]["where"] == "runs/mlflow.db"
    assert trackers["wandb"]["log_in"] == "wandb login"


def test_doctor_says_which_credentials_make_a_tracker_online(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A configured service is online, and the host is named, but never a secret."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:5000")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    answer = cli("doctor", "--json")

    trackers = {tracker["name"]: tracker for tracker in json.loads(answer.out)["trackers"]}
    assert (trackers["mlflow"]["mode"], trackers["mlflow"]["where"]) == ("online", "127.0.0.1:5000")
    assert (trackers["wandb"]["mode"], trackers["wandb"]["where"]) == ("online", "Weights & Biases")
    assert trackers["wandb"]["reason"] == "credentials from WANDB_API_KEY"
    assert "hunter2" not in answer.out
    assert "kkkk" not in answer.out


def test_doctor_says_where_a_variable_puts_local_runs(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """It is where the tracker will write, without the password in the address of a database."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@db/runs")
    monkeypatch.setenv("WANDB_DIR", "/scratch")

    answer = cli("doctor", "--json")

    trackers = {tracker["name"]: tracker["where"] for tracker in json.loads(answer.out)["trackers"]}
    assert trackers["mlflow"].endswith("@db/runs")
    assert trackers["wandb"] == "/scratch"
    assert "hunter2" not in answer.out


def test_offline_shows_what_would_be_without_credentials(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """`--offline` beats credentials."""
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)

    answer = cli("doctor", "--offline", "--json")

    assert json.loads(answer.out)["trackers"][0]["mode"] == "local"


def test_a_tracker_that_is_too_old_or_missing_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each problem comes with the command that mends it."""
    (tmp_path / "wandb-0.10.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    trackers = {tracker.name: tracker for tracker in examine(tmp_path).trackers}

    assert trackers["wandb"].support == "too old"
    assert trackers["wandb"].problem == "0.10.0 is too old, 0.22 or newer is needed"
    assert trackers["wandb"].mend == "Upgrade it with: pip install -U wandb"
    assert trackers["clearml"].support == "missing"
    assert trackers["clearml"].mend == "Install it with: pip install 'runcast[clearml]'"
    assert trackers["clearml"].mode is None


def test_a_tracker_that_is_switched_off_is_off(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The variables that people already use to switch a tracker off are seen."""
    monkeypatch.setenv("WANDB_MODE", "disabled")

    tracker = json.loads(cli("doctor", "--json").out)["trackers"][0]

    assert (tracker["mode"], tracker["reason"]) == ("off", "switched off by WANDB_MODE=disabled")


def test_a_folder_that_cannot_be_written_is_said(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A file where the runs' folder should be is exit status 1."""
    (tmp_path / "file").write_text("")

    answer = cli("doctor", "--dir", "file")

    assert answer.status == 1
    assert "file cannot be written" in answer.out


def test_doctor_fits_eighty_columns(cli) -> None:  # type: ignore[no-untyped-def]
    """A piped output has no line that a terminal would break."""
    assert max(map(len, cli("doctor").out.splitlines())) <= 80
