"""Small trackers that keep a run in one file of JSON lines, for tests of what happens around a tracker. What `mood.json` says goes wrong."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError, RetryableError
from runcast.integrations.contract import Ending, Point, Reading, TrackedRun, Tracker


class PlainTracker(Tracker):
    """Writes every call as a line."""

    name = "plain"
    supports = frozenset(("params", "metrics", "summary", "status"))

    def setup(self, run: TrackedRun) -> None:
        self._file = run.local / "lines.jsonl"
        if mood(run) == "away":
            raise RetryableError("the service is away")
        if mood(run) == "busy once":
            Path(run.directory, "mood.json").unlink()
            raise RetryableError("too many requests", retry_after_s=5.0)
        if mood(run) == "locked":
            raise FinalError("the key is wrong")
        self._refuses = mood(run) == "no negative numbers"
        self._write("running")
        run.url = f"https://plain.example/{run.id}" if run.online else str(self._file)

    def log_params(self, params: Mapping[str, Any]) -> None:
        self._write(dict(params))

    def log_metrics(self, points: Sequence[Point]) -> None:
        if self._refuses and any(point.value < 0 for point in points):
            raise FinalError("negative numbers are not kept")
        for point in points:
            self._write(list(point[:3]))

    def finish(self, ending: Ending) -> None:
        if hasattr(self, "_file"):
            self._write(ending.status)

    def read(self, run: TrackedRun) -> Reading:
        if mood(run) == "slow":
            threading.Event().wait()  # for ever
        if mood(run) == "dies":
            os._exit(3)
        if mood(run) == "no file":
            return Reading(unreadable="it keeps no file, as asked")
        lines = [json.loads(line) for line in (run.local / "lines.jsonl").read_text().splitlines()]
        return Reading(
            points=[Point(*line) for line in lines if isinstance(line, list)],
            params={key: value for line in lines if isinstance(line, dict) for key, value in line.items()},
            status=[line for line in lines if isinstance(line, str)][-1],  # type: ignore[arg-type]
        )

    def _write(self, line: Any) -> None:
        with self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")


class PlainMeter(PlainTracker):
    """Measures one thing, at the end."""

    name = "meter"
    supports = frozenset()
    measures = True

    def measure(self, final: bool) -> Mapping[str, float]:
        if final:
            self.log_metrics([Point("energy", 7.0, 99)])
        return {"energy": 7.0} if final else {}


def mood(run: TrackedRun) -> str:
    """Return what goes wrong now."""
    file = Path(run.directory) / "mood.json"
    return json.loads(file.read_text()) if file.exists() else ""
