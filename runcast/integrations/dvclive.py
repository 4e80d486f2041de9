"""Writes a run as DVCLive does.

A table per metric, `metrics.json` and `params.yaml`, for `dvc metrics`, `dvc plots` and `dvc params`.

Needs: the distribution `dvclive`, 3.41 or later; tested with 3.49.1. Neither Git nor DVC is needed, set up or written
to, unless options ask for it.

Writes: `dvclive/` in the run's own folder. `setup={"dvclive": {...}}` goes to `Live` (`dir`, `save_dvc_exp`, `dvcyaml`,
`report` …), and its variables keep their meaning. A value below a name that has a value itself (`loss`, then
`loss/train`) stays flat in `metrics.json`; final values are under `summary`, the status is `status`. Media other than
images are in `media/`, artifacts in `artifacts/`. Where the file system takes two names for one (`Loss` and `loss`),
the second one is in a folder `_0x…_`. DVC Studio gets the run when it ends.

Drops: tags, notes, captions, and all times: of the start, the end and the points.

Limits (read in dvclive 3.49.1, 2026-11-20): a metric's name is a path. `Live.log_metric` opens a file for each value
and `next_step` parses all files written so far; here each batch is appended to each file at once, as the same text.
"""

import json
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive import Live
from dvclive.error import DvcLiveError
from dvclive.plots import Image, Metric
from dvclive.serialize import dump_json, get_yaml, load_yaml

from runcast.core.errors import FinalError, TrackerError
from runcast.integrations.contract import (
    ArtifactFile,
    Ending,
    MediaFile,
    Number,
    ParamValue,
    PathRule,
    Point,
    Reading,
    TrackedRun,
    Tracker,
)
from runcast.integrations.files import MARKED, RESERVED, name_of, own_name
from runcast.values.points import PointList

SUMMARY_EVERY_S = 5.0
MAX_WIDTH = 2**31  # a long text that is folded may not be read back: ruamel.yaml cuts between a backslash and an n
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

    def setup(self, run: TrackedRun) -> None:
        given = {"exp_name": run.name} if "name" in run.given else {}
        folder = os.path.abspath(run.ids.get("dir") or run.options.get("dir") or _folder(run))
        options = {"save_dvc_exp": False, "dvcyaml": None, **given, **run.options}
        try:
            self._live = _Live(**options | {"dir": folder, "resume": run.resumed or run.options.get("resume", False)})
        except (DvcLiveError, OSError, TypeError, ValueError) as error:
            raise FinalError(
                f"DVCLive cannot start in {folder}: {error}. Look at setup={{'dvclive': …}} and DVCLIVE_*."
            ) from error
        self._in_dvc, self._paths = options["save_dvc_exp"], dict[str, Path]()
        if Path(self._live.dir) != _folder(run):
            run.remember(dir=self._live.dir)
        self._values = {key: value for key, value in _flatten(self._live.read_latest()).items() if key != "step"} | {
            "status": "running"
        }
        newest = [point for path in _tables(self._live.dir) for point in _mend(path)]
        if newest:  # metrics.json is of up to SUMMARY_EVERY_S before a kill, and Live goes on one step later
            self._values.update((point.key, point.value) for point in newest)
            self._live.step = max(point.step for point in newest)
        self._summarise()
        run.url = self._live.dir

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
        self._values.update((f"summary/{key}", value) for key, value in values.items())
        self._summarise()

    def log_media(self, media: MediaFile) -> None:
        if media.kind == "image" and media.path.suffix in Image.suffixes:
            root = Path(self._live.plots_dir, Image.subfolder)
            self._live.link_image(f"{own_name(root, media.key)}/{media.step}{media.path.suffix}", media.path)
        else:
            root = Path(self._live.dir, "media")
            _link(media.path, root / own_name(root, media.key) / f"{media.step}{media.path.suffix}")

    def log_artifact(self, artifact: ArtifactFile) -> None:
        root = Path(self._live.artifacts_dir)
        path = root / own_name(root, artifact.name)
        _link(artifact.path, path)
        if self._in_dvc:
            self._live.log_artifact(path, type=artifact.kind, name=artifact.name)

    def flush(self) -> None:
        if time.monotonic() > self._summarised + SUMMARY_EVERY_S:
            self._summarise()

    def finish(self, ending: Ending) -> None:
        if not hasattr(self, "_live"):
            return
        self._values["status"] = ending.status
        self._summarise()
        self._live.end()
        del self._live

    def explain(self, error: Exception) -> TrackerError | None:
        return FinalError(f"DVCLive: {error}") if isinstance(error, DvcLiveError) else super().explain(error)

    def exists(self, run: TrackedRun) -> bool:
        return Path(run.ids.get("dir") or _folder(run), "metrics.json").exists()

    def read(self, run: TrackedRun) -> Reading:
        folder = Path(run.ids.get("dir") or _folder(run))
        if not (folder / "metrics.json").exists():
            raise FinalError(f"DVCLive has nothing of run {run.id} in {folder}. Deliver the run with: runcast sync")
        values = _flatten(json.loads((folder / "metrics.json").read_text()))
        params, artifacts = folder / "params.yaml", folder / "artifacts"
        media = [
            path.relative_to(root)
            for root in (folder / "plots" / "images", folder / "media")
            for path in root.rglob("*")
            if path.is_file()
        ]
        return Reading(
            points=PointList(point for path in _tables(folder) for point in _read_table(path)),
            params=load_yaml(params) if params.exists() else {},
            summary={
                key.removeprefix("summary/"): value for key, value in values.items() if key.startswith("summary/")
            },
            artifacts={
                path.name
                for pattern in ("*", f"{MARKED}/*")
                for path in artifacts.glob(pattern)
                if path.suffix != ".dvc" and path.name != ".gitignore"
            },
            media=[(name_of(path.parent.as_posix()), int(path.stem)) for path in media],
            status=values.get("status"),
        )

    def _table(self, key: str) -> Path:
        root = Path(self._live.plots_dir, Metric.subfolder)
        name = own_name(root, f"{key}.tsv").removesuffix(".tsv")
        return Path(Metric(name, self._live.plots_dir).output_path)

    def _summarise(self) -> None:
        values = {
            key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in self._values.items()
        }
        self._live.summary = _nest(values)
        self._live.make_summary()
        self._summarised = time.monotonic()


class _Live(Live):  # type: ignore[misc]
    """`Live` without its surprises.

    It leaves Git alone, a kill cannot tear its files, and it parses the tables only for DVC Studio.
    """

    def _init_dvc(self) -> None:
        # Live runs `dvc init` in any Git repository that has no .dvc (get_dvc_repo in dvclive/dvc.py of 3.49.1).
        here = Path.cwd()
        if self._save_dvc_exp or any((folder / ".dvc").is_dir() for folder in (here, *here.parents)):
            super()._init_dvc()
        else:
            self._dvc_file = self._init_dvc_file()

    def _dump_params(self) -> None:
        _replace(Path(self.params_file), self._write_params)

    def _write_params(self, path: Path) -> None:
        yaml = get_yaml()
        yaml.width = MAX_WIDTH
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(self._params, file)

    def make_summary(self) -> None:
        if self._step is not None:
            self.summary["step"] = self.step
        _replace(Path(self.metrics_file), lambda new: dump_json(self.summary, new))

    def post_data_to_studio(self) -> None:
        if "data" not in self._studio_events_to_skip:
            super().post_data_to_studio()

    def link_image(self, name: str, source: Path) -> None:
        """Do what log_image does, but without Pillow, which would encode the image again."""
        image = self._images[name] = Image(name, self.plots_dir)
        image.step = self.step
        _link(source, image.output_path)


def _folder(run: TrackedRun) -> Path:
    return run.local / "dvclive"


def _tables(folder: str | Path) -> list[Path]:
    return sorted(Path(folder, "plots", Metric.subfolder).rglob("*.tsv"))


def _mend(path: Path) -> Iterable[Point]:
    """Cut off a line that a kill has torn; return the last point, if there is one."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        os.truncate(path, data.rfind(b"\n") + 1)
    return deque(_read_table(path), maxlen=1)


def _read_table(path: Path) -> Iterator[Point]:
    key = name_of(path.as_posix().rpartition(f"/plots/{Metric.subfolder}/")[2].removesuffix(".tsv"))
    text = path.read_bytes().rpartition(b"\n")[0].decode()
    header, *rows = (line.rstrip("\r").split("\t") for line in text.split("\n"))
    for row in rows:
        yield Point(
            key, int(row[-1]) if row[-1].lstrip("-").isdigit() else float(row[-1]), int(row[header.index("step")])
        )


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make groups of names with slashes; what lies below a name that has a value keeps the rest of its own name."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        parts, node, depth = key.split("/"), tree, 0
        while depth < len(parts) - 1 and "/".join(parts[: depth + 1]) not in values:
            node = node.setdefault(parts[depth], {})
            depth += 1
        node["/".join(parts[depth:])] = value
    return tree


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}/") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    new = path.with_name(f".{path.name}.new")
    write(new)
    new.replace(path)


def _link(source: Path, target: Path) -> None:
    """Put a file or a folder at *target*, in place of what is there: as a hard link where possible, else as a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
