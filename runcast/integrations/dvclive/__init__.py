"""Write runs as DVCLive does: tables of metrics, `metrics.json` and `params.yaml`, for `dvc metrics` and `dvc plots`.

Needs: dvclive 3.41 or newer, tested with 3.49.1. Neither Git nor DVC is needed, set up or written to, unless options
    ask for it.
Writes: `dvclive/` in the run's own folder. `setup={"dvclive": {...}}` goes to `Live` (`dir`, `save_dvc_exp`, `dvcyaml`,
    `report` …), and its variables keep their meaning. A value below a name that has a value itself (`loss`, then
    `loss/train`) stays flat in `metrics.json`; final values are under `summary`, the status is `status`. Media other
    than images are in `media/`, artifacts in `artifacts/`. Where the file system takes two names for one (`Loss` and
    `loss`), the second one is in a folder `_0x…_`. DVC Studio gets the run when it ends.
Drops: tags, notes, captions, and all times: of the start, the end and the points.
Limits: a metric's name is a path. `Live.log_metric` opens a file for each value and `next_step` parses all files
    written so far; here each batch is appended to each file at once, as the same text. Read in dvclive 3.49.1 on
    2026-11-20.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive.error import DvcLiveError
from dvclive.plots import Image, Metric

from runcast.core.errors import FinalError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.dvclive.foreign import find_runs, read_foreign
from runcast.integrations.dvclive.reader import SUMMARY, flatten, nest, read_folder, repair, tables
from runcast.integrations.dvclive.sdk import folder_of, open_live
from runcast.integrations.files import RESERVED, link, own_name
from runcast.values.names import PathRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue, finite_or_text

SUMMARY_EVERY_S = 5.0
# A part of a name that is empty, "." or ".."; characters that tables cannot hold; a folder with the name of a table
# ("a.tsv/b" beside "a"); the name of a table's own column, "step"; and those of metrics.json itself.
FORBIDDEN = (
    r"\A/|/(?=/|\Z)|(?<![^/])\.(?=\.?(?:/|\Z))|[\x00-\x1f\x7f\x22]|\.(?=tsv/)"
    rf"|(?<![^/])s(?=tep\Z)|\As(?=(?:tep|tatus|ummary)(?:/|\Z))|{RESERVED}"
)


class DvcliveTracker(Tracker):
    """A folder of DVCLive. Tables are appended to directly, with the paths and text of `Live`; the rest is its own."""

    name = "dvclive"
    names = PathRule(FORBIDDEN)
    artifact_names = PathRule(rf"/|{FORBIDDEN}|\.(?=dvc\Z)|\A\.(?=gitignore\Z)")

    _live: Any = None  # a QuietLive between `setup` and `finish`

    def setup(self, run: TrackedRun) -> None:
        self._live, self._paths = open_live(run), dict[str, Path]()
        self._in_dvc = run.options.get("save_dvc_exp", False)
        run.url = self._live.dir
        if Path(run.url) != folder_of(run):
            run.remember(dir=run.url)
        kept = {key: value for key, value in flatten(self._live.read_latest()).items() if key != "step"}
        self._values = {**kept, "status": "running"}
        newest = [point for path in tables(run.url) for point in repair(path)]
        if newest:  # metrics.json is of up to SUMMARY_EVERY_S before a kill, and Live goes on one step later
            self._values.update((point.key, point.value) for point in newest)
            self._live.step = max(point.step for point in newest)
        self._summarise()

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._live.log_params(dict(params))

    def log_metrics(self, points: Sequence[Point]) -> None:
        tables: dict[str, list[str]] = {}
        for key, value, step, _ in points:
            tables.setdefault(key, []).append(f"{step}\t{value}{os.linesep}")
        before: list[tuple[Path, int]] = []
        try:
            for key, rows in tables.items():
                path = self._paths.get(key) or self._paths.setdefault(key, self._table(key))
                with path.open("ab") as table:
                    before.append((path, table.tell()))
                    table.write("".join(rows if table.tell() else [f"step\t{path.stem}{os.linesep}", *rows]).encode())
        except OSError:
            for path, size in before:
                os.truncate(path, size)
            raise
        self._values.update((point.key, point.value) for point in points)
        self._live.step = points[-1].step

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._values.update((f"{SUMMARY}{key}", value) for key, value in values.items())
        self._summarise()

    def log_media(self, media: MediaFile) -> None:
        if media.kind == "image" and media.path.suffix in Image.suffixes:
            root = Path(self._live.plots_dir, Image.subfolder)
            self._live.link_image(f"{own_name(root, media.key)}/{media.step}{media.path.suffix}", media.path)
        else:
            root = Path(self._live.dir, "media")
            link(media.path, root / own_name(root, media.key) / f"{media.step}{media.path.suffix}")

    def log_artifact(self, artifact: ArtifactFile) -> None:
        root = Path(self._live.artifacts_dir)
        path = root / own_name(root, artifact.name)
        link(artifact.path, path)
        if self._in_dvc:
            self._live.log_artifact(path, type=artifact.kind, name=artifact.name)

    def flush(self) -> None:
        if time.monotonic() > self._summarised + SUMMARY_EVERY_S:
            self._summarise()

    def finish(self, ending: Ending) -> None:
        if self._live is None:
            return
        self._values["status"] = ending.status
        self._summarise()
        self._live.end()
        self._live = None

    def explain(self, error: Exception) -> TrackerError | None:
        return FinalError(f"DVCLive: {error}") if isinstance(error, DvcLiveError) else super().explain(error)

    def exists(self, run: TrackedRun) -> bool:
        return (folder_of(run) / "metrics.json").exists()

    def read(self, run: TrackedRun) -> Reading:
        return read_foreign(Path(run.ids["dir"])) if run.foreign else read_folder(folder_of(run))

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return find_runs(place, folder)

    def _table(self, key: str) -> Path:
        root = Path(self._live.plots_dir, Metric.subfolder)
        name = own_name(root, f"{key}.tsv").removesuffix(".tsv")
        return Path(Metric(name, self._live.plots_dir).output_path)

    def _summarise(self) -> None:
        self._live.summary = nest({key: finite_or_text(value) for key, value in self._values.items()})
        self._live.make_summary()
        self._summarised = time.monotonic()
