"""Show runs in the Deck of the Flyte task that trains, and keep their models as its checkpoint.

Needs: flytekit 1.13 or newer, tested with 1.16.31, and code that runs inside of a task: elsewhere Flyte takes no part.
Writes: a Deck `runcast` with curves, params, final values, the newest media and links to the other trackers; Flyte
    shows it where the task has `enable_deck=True`, when it ends or calls `Deck.publish()`. An artifact of the type
    "model" (as from `log_model="all"`) becomes the task's checkpoint, which a retry finds with
    `current_context().checkpoint.restore()`; every artifact is beside the task's raw outputs, in `runcast/<run id>`.
    What the Deck shows is kept whole in the run's own folder, which is what `runcast verify` reads.
Drops: nothing; the Deck shows up to 1,000 points of a curve. Flyte itself decides how the task ended.
Limits: a task has one checkpoint, in which files of an earlier one stay unless they have the name of a newer one. Read
    in flytekit 1.16.31 (deck/deck.py, core/checkpointer.py) and tried in its local execution, not in a cluster;
    2026-11-30.
"""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.core.errors import RetryableError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import append, cut_torn_line, json_lines, link
from runcast.integrations.flyte import page, reader, sdk
from runcast.journal.paths import write_atomically
from runcast.values.names import NameRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

RENDER_EVERY_S = 10.0
MODEL = "model"


class FlyteTracker(Tracker):
    """A file of lines, and the page that is made of it for the Deck."""

    name = "flyte"
    artifact_names = NameRule(r"[^A-Za-z0-9._-]|\A\.", max_length=200)

    _run: TrackedRun
    _path: Path | None = None

    def setup(self, run: TrackedRun) -> None:
        run.local.mkdir(parents=True, exist_ok=True)
        path = reader.path_of(run)
        cut_torn_line(path)
        self._run, self._path, self._shown = run, path, page.Shown()
        for kind, content in json_lines(path):
            self._shown.add(kind, content)
        run.url = str(run.local / "deck.html")
        about = {"name": run.name, "project": run.project, "notes": run.notes, "group": run.group}
        self._add("run", {**about, "started": run.created, "status": "running"})
        self.add_tags(run.tags)
        self._render()

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._add("params", params)

    def log_metrics(self, points: Sequence[Point]) -> None:
        self._add("points", points)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._add("summary", values)

    def add_tags(self, tags: Sequence[str]) -> None:
        self._add("tags", list(tags))

    def log_media(self, media: MediaFile) -> None:
        kept = f"media/{self._shown.files}{media.path.suffix}"
        link(media.path, self._run.local / kept)
        self._add("media", [media.key, media.step, media.kind, kept, media.caption])

    def log_artifact(self, artifact: ArtifactFile) -> None:
        checkpoint = self._run.options.get("checkpoint")
        if artifact.kind == MODEL and checkpoint:
            sdk.save_checkpoint(artifact.path, str(checkpoint))
        base = self._run.options.get("files")
        place = f"{base}/runcast/{self._run.id}/{artifact.name}" if base else f"{self._run.local}/files/{artifact.name}"
        if "://" in place:
            sdk.upload(artifact.path, place)
        else:
            link(artifact.path, Path(place))
        self._add("artifact", [artifact.name, artifact.kind, place])

    def flush(self) -> None:
        if time.monotonic() > self._rendered + RENDER_EVERY_S:
            self._render()

    def finish(self, ending: Ending) -> None:
        if self._path is None:
            return
        self._add("end", {"status": ending.status, "error": ending.error, "ended": ending.ended_at})
        self._render()
        self._path = None

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, sdk.FlyteException):
            return RetryableError(f"Flyte: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool:
        return reader.path_of(run).exists()

    def read(self, run: TrackedRun) -> Reading:
        return reader.read_run(run)

    def _add(self, kind: str, content: Any) -> None:
        assert self._path is not None
        append(self._path, json.dumps([kind, content]).encode() + b"\n")
        self._shown.add(kind, content)

    def _render(self) -> None:
        self._rendered = time.monotonic()
        content = page.render(self._shown, self._run.local, self._run.directory).encode()
        write_atomically(self._run.local / "deck.html", content)
        with contextlib.suppress(OSError):  # the task, whose folder it is, may be over
            if "page" in self._run.options:
                write_atomically(Path(self._run.options["page"]), content)
