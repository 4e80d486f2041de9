"""DagsHub, as MLflow's real server behind a password, at the address of a repository."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

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


class Files:
    """The part of DagsHub's API that keeps files: what was committed, by its path in the repository."""

    def __init__(self) -> None:
        self.committed: dict[str, bytes] = {}

    def answer(self, method: str, path: str, body: bytes) -> bytes | None:
        """Answer a request for the API of a repository."""
        root = "/api/v1/repos/owner/digits"
        if method == "PUT" and path.startswith(f"{root}/content/"):
            self.committed[unquote(path.removeprefix(f"{root}/content/"))] = body
            return b"{}"
        if path == f"{root}/branches/release":
            commit = {"id": "c0ffee", "message": "", "url": "", "timestamp": ""}
            return json.dumps({"name": "release", "commit": commit}).encode()
        if path == root:
            texts = dict.fromkeys(("name", "full_name", "description", "html_url", "clone_url", "created_at"), "")
            flags = dict.fromkeys(("private", "fork", "empty", "mirror"), False)
            counts = dict.fromkeys(
                ("id", "size", "stars_count", "forks_count", "watchers_count", "open_issues_count"), 0
            )
            owner = {"id": 1, "login": "owner", "full_name": "", "username": "owner"}
            about = {"owner": owner, "default_branch": "main", "updated_at": ""}
            return json.dumps({**texts, **flags, **counts, **about}).encode()
        return None


def test_artifacts_are_also_committed_under_dvc_when_asked(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """A file and a folder, with DagsHub's own package, on the branch that transformers' variable names."""
    token, files = base64.b64encode(b"owner:a token").decode(), Files()
    running = Gateway(mlflow_server, "/owner/digits.mlflow", f"Basic {token}", other=files.answer)
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "folder" / "inner" / "model.bin").write_bytes(b"the weights")
    variables = {
        "DAGSHUB_REPO": "owner/digits",
        "DAGSHUB_CLIENT_HOST": running.host,
        "DAGSHUB_USER_TOKEN": "a token",
        "HF_DAGSHUB_LOG_ARTIFACTS": "TRUE",
        "BRANCH": "release",
    }
    try:
        answers = drive(
            tmp_path / "with-dvc",
            ONLINE,
            ["log_artifact", "one.bin", "model", str(tmp_path / "folder" / "inner" / "model.bin")],
            ["log_artifact", "all", "model", str(tmp_path / "folder")],
            ["finish", "finished"],
            ["read", {"online": True}],
            **variables,
        )
    finally:
        running.stop()

    assert answers[1:4] == [None, None, None]
    assert answers[-1]["artifacts"] == ["all", "one.bin"]
    places = {path: (b"the weights" in body, b"dvc" in body) for path, body in files.committed.items()}
    assert set(places.values()) == {(True, True)}
    assert all(path.startswith("release/") for path in places)
    sent = [path.encode() + body for path, body in files.committed.items()]
    assert any(b"artifacts/with-dvc" in one and b"one.bin" in one for one in sent)
    assert any(b"artifacts/with-dvc/all" in one and b"inner/model.bin" in one for one in sent)
