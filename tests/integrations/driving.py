"""What the tests of the integrations share: a Tracker that is driven in a process of its own, and stand-ins for servers."""

import contextlib
import functools
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import warm

DRIVE = Path(__file__).with_name("drive.py")
STANDINS = Path(__file__).parents[1] / "standins.py"
OURS = "PYTEST_CURRENT_TEST"  # changes what MLflow does
# TensorBoard is given the name of a run with its folder.
PATHS = """
import json, os, sys
words = [word.removeprefix("sqlite:///").removeprefix("TRACKIO_DIR=") for word in sys.argv[1:] if "/" in word or "." in word]
print(json.dumps({path: os.path.exists(path) for path in (word.rpartition(":")[2] for word in words)}))
"""


def driver(tracker: str, imported: warm.Warm = warm.SDK_NEEDS) -> Callable[..., list[Any]]:
    """Return a function that makes calls to a fresh Tracker of this name (see `drive.py`)."""
    return functools.partial(_drive, tracker, imported)


def _drive(
    tracker: str, imported: warm.Warm, run: Path, *calls: list[Any], cwd: Path | None = None, **environment: str
) -> list[Any]:
    """Make the calls; return an answer for each, or none if the process was killed."""
    run.parent.mkdir(exist_ok=True)
    done = warm.run(
        imported,
        [DRIVE, tracker, run],
        folder=cwd or run.parent,
        environment={**{name: value for name, value in os.environ.items() if name != OURS}, **environment},
        given=json.dumps(calls),
    )
    assert done.returncode in (0, -9), done.stderr
    return json.loads(done.stdout) if done.stdout else []


def paths_in(command: str) -> dict[str, bool]:
    """List the paths in a command, as a shell expands it, and whether each is there."""
    tool = command.removeprefix("(cd ").partition("&& ")[2] or command
    script = f"{tool.split()[0]}() {{ '{sys.executable}' -c '{PATHS}' \"$@\"; }}; {command}"
    found = json.loads(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout)
    assert found, command
    return dict(found)


@contextlib.contextmanager
def refusing(status: int) -> Iterator[str]:
    """Run a server that answers everything with a status; yield its address."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class StandIn:
    """Runs one of the stand-ins for a service's server, which logs every request."""

    service: str

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.log = folder / "requests.jsonl"
        command = [sys.executable, str(STANDINS), self.service, str(port), str(self.log)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def requests(self, end: str) -> list[str]:
        """List the bodies that were sent to the paths that end so."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [body for _, path, body in lines if path.endswith(end)]

    def bodies(self, end: str) -> list[Any]:
        """List what was sent to the paths that end so, as what the JSON says."""
        return [json.loads(body) for body in self.requests(end) if body]

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class MlflowServer:
    """A real tracking server, which can be stopped and started again."""

    python = sys.executable

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"port": self.port, "backend-store-uri": f"sqlite:///{self.folder}/server.db", "workers": 1}
        options |= {"artifacts-destination": self.folder / "files"}
        command = [self.python, "-m", "mlflow", "server", *(f"--{name}={value}" for name, value in options.items())]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {**os.environ, "HOME": str(self.folder), **quiet}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it with its workers."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
