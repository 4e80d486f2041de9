"""What the tests of the integrations share: a Tracker that is driven in a process of its own, and stand-ins for servers."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRIVE = Path(__file__).with_name("drive.py")
STANDINS = Path(__file__).parents[1] / "standins.py"
OURS = "PYTEST_CURRENT_TEST"  # changes what MLflow does


def driver(tracker: str) -> Callable[..., list[Any]]:
    """Return a function that makes calls to a fresh Tracker of this name (see `drive.py`)."""
    return functools.partial(_drive, tracker)


def _drive(tracker: str, run: Path, *calls: list[Any], cwd: Path | None = None, **environment: str) -> list[Any]:
    """Make the calls; return an answer for each, or none if the process was killed."""
    run.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(DRIVE), tracker, str(run)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        cwd=cwd or run.parent,
        env={**{name: value for name, value in os.environ.items() if name != OURS}, **environment},
        timeout=170,
        check=False,
    )
    assert done.returncode in (0, -9), done.stderr
    return json.loads(done.stdout) if done.stdout else []


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
