"""Trackio's real server, which can be killed and restarted on its stored data."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.guard import VARIABLE

SCRIPT = Path(__file__).parents[1] / "tests" / "integrations" / "trackio_server.py"
TOKEN = "a-token"


class TrackioServer:
    """The process of the server."""

    kind = "trackio"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "trackio-server"
        self._folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        kept = {name: os.environ[name] for name in ("PATH", VARIABLE) if name in os.environ}
        own = {"HOME": str(self._folder), "TRACKIO_DIR": str(self._folder), "TRACKIO_WRITE_TOKEN": TOKEN}
        command = [sys.executable, str(SCRIPT), str(self._port)]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env={**kept, **own}, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        while "listens" not in self._process.stdout.readline():
            if self._process.poll() is not None:
                raise RuntimeError((self._folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def held(self) -> list[list[Any]]:
        """List the key, value and step of every point that it has, of runs that were not deleted."""
        return [
            [key, value, row["step"]]
            for project, run in self._runs()
            for row in self._rows(project, run)
            for key, value in json.loads(row["metrics"]).items()
            if not isinstance(value, dict)
        ]

    def delete(self) -> None:
        """Delete every run, as a person does on Trackio's pages."""
        for project, run in self._runs():
            self._ask("delete_run", project=project, run_id=run)

    def _runs(self) -> list[tuple[str, str]]:
        projects = self._ask("get_all_projects")
        return [(each, run["id"]) for each in projects for run in self._ask("get_runs_for_project", project=each)]

    def _rows(self, project: str, run: str) -> Iterator[dict[str, Any]]:
        last = 0
        while True:
            query = (
                f"SELECT id, step, metrics FROM metrics WHERE run_id = '{run}' AND id > {last} ORDER BY id LIMIT 10000"
            )
            page = self._ask("query_project", project=project, query=query)["rows"]
            if not page:
                return
            yield from page
            last = page[-1]["id"]

    def _ask(self, call: str, **fields: Any) -> Any:
        headers = {"Content-Type": "application/json", "X-Trackio-Write-Token": TOKEN}
        body = json.dumps({"args": [], "kwargs": fields}).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/api/{call}", body, headers), timeout=30
        ) as answer:
            return json.load(answer)["data"]
