"""Servers on loopback that misbehave on request: a proxy with moods, before MLflow's real server or a stand-in."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.guard import VARIABLE

STANDINS = Path(__file__).parents[1] / "tests" / "standins.py"
RETRY_AFTER_S = 3
ANSWERS = {
    "500": (500, {"error_code": "INTERNAL_ERROR", "message": "the server is broken"}),
    "429": (429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many requests"}),
}


class Proxy:
    """Passes requests on to a server, unless its mood is another one.

    `open` passes on; `500` and `429` answer so (429 with Retry-After); `hole` takes the request and never answers;
    `slow` answers late; `taken` passes the request on and then answers 500. `close` refuses connections. `requests`
    lists when each request came, its path and the mood that met it.
    """

    def __init__(self, upstream: str, slow_s: float = 1.5) -> None:
        self.upstream, self.slow_s, self.mood = upstream.rstrip("/"), slow_s, "open"
        self.requests: list[tuple[float, str, str]] = []
        self._changed = threading.Condition()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: ThreadingHTTPServer | None = None
        self._connections: set[socket.socket] = set()

    def open(self) -> None:
        """Listen."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                proxy._connections.add(self.connection)

            def finish(self) -> None:
                proxy._connections.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def handle_any(self) -> None:
                proxy.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: broken connections are what this is for."""

        self._server = Listener(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Refuse connections, and break those that are open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.set("open")
            for connection in list(self._connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def set(self, mood: str) -> None:
        """Change the mood; who waits for an answer of the old one gets none."""
        with self._changed:
            self.mood = mood
            self._changed.notify_all()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request according to the mood."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        mood = self.mood
        self.requests.append((time.monotonic(), request.path.split("?")[0], mood))
        if mood == "hole":
            self._wait(mood, 3600)
            request.close_connection = True
            return
        if mood == "slow":
            self._wait(mood, self.slow_s)
        if mood in ("open", "slow", "taken"):
            status, headers, content = self._pass_on(request, body)
        if mood in ("500", "429", "taken"):
            status, answer = ANSWERS["500" if mood == "taken" else mood]
            headers, content = {"Content-Type": "application/json"}, json.dumps(answer).encode()
            if mood == "429":
                headers["Retry-After"] = str(RETRY_AFTER_S)
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)

    def _wait(self, mood: str, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.mood != mood, timeout_s)

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        try:
            unwanted = ("host", "accept-encoding", "connection", "content-length")
            headers = {name: value for name, value in request.headers.items() if name.lower() not in unwanted}
            connection.request(request.command, request.path, body or None, headers)
            answer = connection.getresponse()
            content = answer.read().replace(self.upstream.encode(), self.url.encode())
            kept = {n: v for n, v in answer.getheaders() if n.lower() in ("content-type", "location", "etag")}
            return answer.status, kept, content
        except OSError:
            return 502, {}, b"{}"
        finally:
            connection.close()


class Standin:
    """The process of a stand-in (`tests/standins.py`) for the server of W&B, Comet, ClearML or SwanLab."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        command = [sys.executable, str(STANDINS), kind, "0", str(folder / f"{kind}.requests.jsonl")]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def held(self) -> list[list[Any]]:
        """List the key, value and step of every point that it has, of runs that were not deleted."""
        with urllib.request.urlopen(f"{self.url}/standin/held", timeout=10) as answer:
            found = list(json.load(answer))
        # SwanLab has one value for each key and step: the page of it says in which columns further ones are
        return [[re.sub(r"\Aruncast/again/\d+/", "", key), *point] for key, *point in found]

    def delete(self) -> None:
        """Delete every run, as a person does on the service's pages."""
        with urllib.request.urlopen(f"{self.url}/standin/delete", timeout=10):
            pass

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class MlflowServer:
    """MLflow's real tracking server, which can be killed and restarted on its stored data."""

    kind = "mlflow"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "mlflow-server"
        self._folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"port": self._port, "backend-store-uri": f"sqlite:///{self._folder}/server.db", "workers": 1}
        options |= {"artifacts-destination": self._folder / "files"}
        command = [sys.executable, "-m", "mlflow", "server", *(f"--{name}={value}" for name, value in options.items())]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        kept = {name: os.environ[name] for name in ("PATH", VARIABLE) if name in os.environ}
        environment = {**kept, "HOME": str(self._folder), **quiet}
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it with its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def held(self) -> list[list[Any]]:
        """List the key, value and step of every point that it has, of runs that were not deleted."""
        return [
            [metric["key"], metric["value"], metric["step"]]
            for run in self._runs()
            for key in {metric["key"] for metric in run["data"].get("metrics", [])}
            for metric in self._ask(f"metrics/get-history?run_id={run['info']['run_id']}&metric_key={key}")["metrics"]
        ]

    def delete(self) -> None:
        """Delete every run, as a person does on MLflow's pages."""
        for run in self._runs():
            self._ask("runs/delete", run_id=run["info"]["run_id"])

    def _runs(self) -> list[dict[str, Any]]:
        found = self._ask("experiments/search?max_results=100")["experiments"]
        ids = [experiment["experiment_id"] for experiment in found]
        return list(self._ask("runs/search", experiment_ids=ids).get("runs", []))

    def _ask(self, call: str, **fields: Any) -> dict[str, Any]:
        data = json.dumps(fields).encode() if fields else None
        request = urllib.request.Request(
            f"{self.url}/api/2.0/mlflow/{call}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))


def credentials(kind: str, url: str) -> dict[str, str]:
    """Return the variables with which a user tells the SDK where its server is."""
    keys = {"CLEARML_API_ACCESS_KEY": "key", "CLEARML_API_SECRET_KEY": "secret"}
    hosts = {"CLEARML_API_HOST": url, "CLEARML_WEB_HOST": url, "CLEARML_FILES_HOST": f"{url}/files"}
    return {
        "mlflow": {"MLFLOW_TRACKING_URI": url},
        "wandb": {"WANDB_BASE_URL": url, "WANDB_API_KEY": "0123456789" * 4},
        "comet": {"COMET_URL_OVERRIDE": f"{url}/clientlib/", "COMET_API_KEY": "0123456789" * 2 + "01234"},
        "clearml": {**keys, **hosts},
        "trackio": {"TRACKIO_SERVER_URL": url, "TRACKIO_WRITE_TOKEN": "a-token"},
        "swanlab": {"SWANLAB_API_HOST": url, "SWANLAB_WEB_HOST": url, "SWANLAB_API_KEY": "k" * 21},
    }[kind]
