"""DagsHub, as MLflow's real server behind a password, at the address of a repository."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrations.driving import MlflowServer, driver
from tests.integrations.gateway import Gateway

pytestmark = pytest.mark.trackers
ONLINE = ["setup", {"online": True}]

drive = driver("dagshub")


@pytest.fixture
def repository(mlflow_server: MlflowServer) -> Iterator[Gateway]:
    """Serve a repository to those who have the right name and token."""
    token = base64.b64encode(b"owner:a token").decode()
    running = Gateway(mlflow_server, "/owner/digits.mlflow", f"Basic {token}")
    yield running
    running.stop()


@pytest.mark.parametrize("way", ["DagsHub's variables", "MLflow's variables"])
def test_a_run_goes_to_the_repository_with_the_users_token(tmp_path: Path, repository: Gateway, way: str) -> None:
    """Points, params, artifacts and the status are there; the token is in no file of the run and in no address."""
    ours = {"DAGSHUB_REPO": "owner/digits", "DAGSHUB_CLIENT_HOST": repository.host, "DAGSHUB_USER_TOKEN": "a token"}
    address, password = f"{repository.host}/owner/digits.mlflow", "a token"
    theirs = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": "owner", "MLFLOW_TRACKING_PASSWORD": password}
    (tmp_path / "model.bin").write_bytes(b"weights")

    opened, *_, seen = drive(
        tmp_path / "at-dagshub",
        ONLINE,
        ["log_params", {"lr": 1}],
        ["log_metrics", [["loss", 0.5, 3, 1.7e9], ["loss", 0.25, 4, 1.7e9]]],
        ["log_artifact", "model.bin", "model", str(tmp_path / "model.bin")],
        ["finish", "failed"],
        ["read", {"online": True}],
        **(ours if way.startswith("DagsHub") else theirs),
    )

    assert opened["url"].startswith(f"{address}/#/experiments/")
    assert (seen["points"], seen["params"]) == ([["loss", 0.25, 4], ["loss", 0.5, 3]], {"lr": "1"})
    assert (seen["artifacts"], seen["status"]) == (["model.bin"], "failed")
    assert repository.refused == 0
    kept = [path.read_bytes() for path in (tmp_path / "at-dagshub").rglob("*") if path.is_file()]
    assert not any(b"a token" in content or b"a%20token" in content for content in kept)


def test_a_wrong_token_is_final_and_not_repeated(tmp_path: Path, repository: Gateway) -> None:
    """The error says what the server said, without the token."""
    variables = {
        "DAGSHUB_REPO": "owner/digits",
        "DAGSHUB_CLIENT_HOST": repository.host,
        "DAGSHUB_USER_TOKEN": "wrong-1",
    }

    (answer,) = drive(tmp_path / "at-dagshub", ONLINE, **variables)

    assert answer[0] == "FinalError"
    assert "wrong-1" not in answer[1]
    assert repository.refused == 1
