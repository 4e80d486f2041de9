"""The smallest tracker that keeps every promise, for users' tests and as a template for new trackers."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import link
from runcast.values.points import Point, PointList
from runcast.values.scalars import Number, ParamValue


class MemoryTracker(Tracker):
    """A tracker that keeps a run as lines of JSON in the run's own folder.

    In a test: `run = runcast.init(report_to=MemoryTracker, dir=tmp_path)`, later `MemoryTracker.reading_of(run.dir)`.
    """

    name = "memory"

    def setup(self, run: TrackedRun) -> None:
        """Open the run's file for appending; an earlier session's lines stay in it."""
        self._path = self.path_of(run)
        run.url = str(self._path)
        self._append(
            ["name", run.name],
            ["group", run.group],
            ["notes", run.notes],
            ["tags", list(run.tags)],
            ["status", "running"],
            ["started_at", run.created],
            ["ended_at", None],
        )

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Append params."""
        self._append(["params", dict(params)])

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Append points, all of them with one write."""
        self._append(*(["point", *point] for point in points))

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Append final values."""
        self._append(["summary", dict(values)])

    def add_tags(self, tags: Sequence[str]) -> None:
        """Append tags."""
        self._append(["tags", list(tags)])

    def log_media(self, media: MediaFile) -> None:
        """Keep the file, and append its path."""
        self._append(["media", media.key, media.step, self._keep(media.path)])

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Keep the file or folder, and append its path."""
        self._append(["artifact", artifact.name, self._keep(artifact.path)])

    def finish(self, ending: Ending) -> None:
        """Append the status, and the time of the run's end."""
        if hasattr(self, "_path"):
            self._append(["status", ending.status], ["ended_at", ending.ended_at])
            del self._path

    def exists(self, run: TrackedRun) -> bool:
        """Return whether the run's file is there."""
        return self.path_of(run).exists()

    def read(self, run: TrackedRun) -> Reading:
        """Read the lines back; ignore one that a killed process left incomplete."""
        reading = Reading(params={}, summary={}, tags=set(), artifacts=set(), media=[])
        path = self.path_of(run)
        for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
            try:
                kind, *values = json.loads(line)
            except ValueError:
                continue
            _take(reading, kind, values, path.parent)
        return reading

    @classmethod
    def reading_of(cls, run_directory: str | os.PathLike[str]) -> Reading:
        """Read this tracker's content of the run in a folder."""
        folder = Path(run_directory)
        run = TrackedRun(
            id=folder.name,
            name="",
            project="",
            directory=folder,
            local=folder / "trackers" / cls.name,
            created=0.0,
            online=False,
        )
        return cls().read(run)

    @staticmethod
    def path_of(run: TrackedRun) -> Path:
        """Return the file that holds the run."""
        return run.local / "memory.jsonl"

    def _keep(self, path: Path) -> str:
        number = len(list(self._path.parent.glob("files/*")))
        link(path, self._path.with_name("files") / f"{number}{path.suffix}")
        return f"files/{number}{path.suffix}"

    def _append(self, *lines: list[Any]) -> None:
        # A newline precedes each line, which ends a line that a killed process left incomplete.
        data = "".join(f"\n{json.dumps(line)}" for line in lines)
        with open(self._path, "ab", buffering=0) as file:
            file.write(data.encode())


def _take(reading: Reading, kind: str, values: list[Any], folder: Path) -> None:
    if kind == "point":
        assert isinstance(reading.points, PointList)
        reading.points.append(Point(*values))
    elif kind in ("params", "summary"):
        getattr(reading, kind).update(values[0])
    elif kind == "tags":
        reading.tags = (reading.tags or set()) | set(values[0])
    elif kind == "media":
        reading.media = [*(reading.media or ()), (values[0], values[1])]
        for place in values[2:]:
            reading.contents[values[0], values[1]] = folder / place
    elif kind == "artifact":
        reading.artifacts = (reading.artifacts or set()) | {values[0]}
        for place in values[1:]:
            reading.contents[values[0]] = folder / place
    else:
        setattr(reading, kind, values[0])
