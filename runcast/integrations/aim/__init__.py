"""Write runs to a repository of Aim.

Needs: aim 3.29 or newer, tested with 3.29.1, which has packages for Python 3.12 and older.
Writes: one repository for all runs, in the folder `aim` beside the run directories, or where the option `repo` says:
    one place, because people open Aim to compare runs. `experiment` is the project. A metric that comes again at one
    step is in the context `repeat`, media are in the context `media`: Aim keeps one value for a step of a metric and a
    context. Final values, the status and the group are parameters under `runcast`. A deleted run is recreated. Nothing
    of Aim's own is measured or captured, neither the system nor the terminal.
Drops: empty folders. A table is a text of JSON lines, a page a text of its source; a histogram with bins of different
    widths is a text, and a video one with its path. Aim's page knows only that a run has ended, not how.
Limits: integers of more than 64 bits become floats, or text in a parameter. Runs appear in `aim up`, which indexes
    them, and not in `Repo.iter_runs` before. Aim's server (`aim://…`) is not supported: its client reports no failure.
    Read in aim 3.29.1 (sdk/run.py, sdk/tracker.py) on 2026-11-30.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError
from runcast.integrations.aim import reader, sdk
from runcast.integrations.aim.media import content
from runcast.integrations.aim.writer import Writer
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.values.names import NameRule
from runcast.values.points import Point
from runcast.values.scalars import INTS, Number, ParamValue


class AimTracker(Tracker):
    """One run of a repository."""

    name = "aim"
    identities = frozenset(("hash",))
    param_names = NameRule(r"\Ar(?=uncast\Z)")
    artifact_names = NameRule(r"[^A-Za-z0-9._-]|\A\.", max_length=200)

    _writer: Writer | None = None

    def setup(self, run: TrackedRun) -> None:
        if self._writer is not None:
            return
        folder = {"folder": sdk.place(run)} if run.options.get("repo") else {}
        run.remember(hash=sdk.run_hash(run), **folder)
        self._writer = Writer(run)
        self._tags = set(self._run.tags)
        self._run.name, self._run.experiment = run.name, str(run.options.get("experiment") or run.project)
        if run.notes:
            self._run.description = run.notes
        about = {"status": "running", "group": run.group, "replaces": run.replaces}
        for key, value in about.items():
            if value is not None:
                self._run[reader.OWN, key] = value
        self.add_tags(run.tags)
        run.url = sdk.place(run)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        for key, value in params.items():
            self._run[key] = str(value) if isinstance(value, int) and value not in INTS else value

    def log_metrics(self, points: Sequence[Point]) -> None:
        if far := [point for point in points if point.step not in INTS]:
            raise FinalError("Aim holds no step of more than 64 bits.", far)
        self._open.log(points)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        for key, value in values.items():
            held = float(value) if isinstance(value, int) and value not in INTS else value
            self._run[reader.OWN, "summary", key] = held

    def add_tags(self, tags: Sequence[str]) -> None:
        for tag in dict.fromkeys(tags):
            if tag not in self._tags:
                self._run.add_tag(tag)
                self._tags.add(tag)

    def log_media(self, media: MediaFile) -> None:
        self._open.track(media.key, content(media), media.step, media.time, {reader.MEDIA: media.kind})

    def log_artifact(self, artifact: ArtifactFile) -> None:
        self._open.keep(artifact.name, artifact.path)

    def flush(self) -> None:
        if not sdk.has_run(self._run.repo.root_path, self._run.hash):
            raise GoneError("Aim no longer has the run.")

    def finish(self, ending: Ending) -> None:
        if self._writer is None:
            return
        self._run[reader.OWN, "status"] = ending.status
        if ending.error:
            self._run[reader.OWN, "error"] = ending.error
        self._writer.close(ending.ended_at)
        self._writer = None

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, sdk.RETRYABLE):
            return RetryableError(f"Aim: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool:
        return "hash" in run.ids and sdk.has_run(sdk.place(run), run.ids["hash"])

    def read(self, run: TrackedRun) -> Reading:
        if "hash" not in run.ids or not self.exists(run):
            return Reading()
        return reader.read_run(sdk.repository(sdk.place(run)), run.ids["hash"])

    @property
    def _open(self) -> Writer:
        assert self._writer is not None
        return self._writer

    @property
    def _run(self) -> Any:
        return self._open.run
