"""DagsHub, as MLflow's real server behind a password, at the address of a repository."""

import base64
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import MlflowServer, driver

pytestmark = pytest.mark.trackers
ONLINE = ["setup", {"online": True}]

drive = driver("dagshub")


class Repository:
    """Passes requests for `/owner/digits.mlflow` on to MLflow's server, if they have the right name and token."""

    def __init__(self, upstream: MlflowServer) -> None:
        wanted = f"Basic {base64.b64encode(b'owner:a token').decode()}"
        self.refused = 0
        repository = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                prefix, _, rest = self.path.partition(".mlflow")
                if self.headers.get("Authorization") != wanted or prefix != "/owner/digits":
                    repository.refused += 1
                    self.answer(401, b'{"error_code": "UNAUTHENTICATED", "message": "log in"}')
                    return
                connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=30)
                connection.request(self.command, rest, body, {"Content-Type": "application/json"})
                found = connection.getresponse()
                self.answer(found.status, found.read())
                connection.close()

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            do_GET = do_POST = do_PUT = do_PATCH = handle_any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def stop(self) -> None:
        """End it."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def repository(mlflow_server: MlflowServer) -> Iterator[Repository]:
    """Serve a repository."""
    running = Repository(mlflow_server)
    yield running
    running.stop()


@pytest.mark.parametrize("way", ["DagsHub's variables", "MLflow's variables"])
def test_a_run_goes_to_the_repository_with_the_users_token(tmp_path: Path, repository: Repository, way: str) -> None:
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


def test_a_wrong_token_is_final_and_not_repeated(tmp_path: Path, repository: Repository) -> None:
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
