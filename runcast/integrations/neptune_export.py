"""Read what `neptune-exporter` saved of Neptune before it ended: tables in Parquet, and files beside them.

A row is a value of an attribute of a run; its type says in which column the value is. Numbers in a series are points,
histograms media, other single values params, texts in a series an artifact. For `import` only. The columns are those in
the README of a fork, strickvl/neptune-exporter, read on 2026-12-01; no export of the service itself was there to try.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.integrations.more import ARCHIVES
from runcast.integrations.tracked_run import found_run
from runcast.values.media.kinds import Histogram
from runcast.values.points import Point, PointList

SINGLE = ("float", "int", "string", "bool", "datetime", "string_set")
IDS = ("project_id", "run_id")
ABOUT = "sys/"  # the attributes that are Neptune's own
MAX_PARENTS = 4  # of a table, in which the folder of files is looked for


class NeptuneExport(Tracker):
    """A reader of an export of Neptune."""

    name = "neptune"

    def read(self, run: TrackedRun) -> Reading:
        reader = _Reader(run)
        for path in run.ids["files"].split("\n"):
            for row in _rows(Path(path)):
                if (row["project_id"], row["run_id"]) == (run.project, run.name):
                    reader.add(row, Path(path))
        return reader.result()

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        path = Path(place).resolve()
        files = [path] if path.is_file() else path.rglob(ARCHIVES[self.name].keeps[0])
        runs: dict[tuple[str, str], list[str]] = {}
        for file in sorted(files):
            for one in dict.fromkeys((row["project_id"], row["run_id"]) for row in _rows(file, IDS)):
                runs.setdefault(one, []).append(str(file))
        for (project, run_id), paths in runs.items():
            identity = hashlib.sha256(f"{project}\n{run_id}".encode()).hexdigest()[:12]
            yield found_run(identity, run_id, project, folder, ids={"files": "\n".join(paths)})


def _rows(path: Path, columns: tuple[str, ...] | None = None) -> Iterator[dict[str, Any]]:
    try:
        from pyarrow import ArrowException  # type: ignore[import-untyped]
        from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        raise FinalError("pyarrow, which reads Parquet, is missing. Install it with: pip install pyarrow") from None
    try:
        for batch in ParquetFile(path).iter_batches(columns=columns):
            yield from batch.to_pylist()
    except (ArrowException, KeyError) as error:
        raise FinalError(f"{path} is no table of neptune-exporter: {error}") from error


class _Reader:
    """What has been read of a run so far."""

    def __init__(self, run: TrackedRun) -> None:
        self._run, self._points = run, PointList()
        self._texts, self._about = dict[str, list[str]](), dict[str, Any]()
        self._last = 0.0
        self._reading = Reading(points=self._points, params={}, tags=set())

    def add(self, row: dict[str, Any], table: Path) -> None:
        """Add a row."""
        key, kind = row["attribute_path"], row["attribute_type"]
        moment = row["timestamp"].timestamp() if row.get("timestamp") is not None else 0.0
        self._last = max(self._last, moment)
        value = row.get(f"{kind.removesuffix('_series')}_value")
        step = row.get("step") or 0
        if value is None:
            self._reading.left_out[key] = f"is an empty {kind} in the export"
        elif kind in SINGLE:
            self._add_single(key, value)
        elif kind == "string_series":
            self._texts.setdefault(key, []).append(value)
        elif step != int(step):
            self._reading.left_out[key] = f"has the step {step}, which is no whole number"
        elif kind == "float_series":
            self._points.append(Point(key, value, int(step), moment))
        elif kind == "histogram_series":
            made = Histogram(counts=value["values"], edges=value["edges"])
            path = made.save(self._run.local, f"{len(self._reading.contents):08d}")
            self._reading.keep(key, int(step), path, moment)
        elif (file := _find(value["path"], table)) is None:
            self._reading.left_out[key] = f"is a file that is not beside the tables: {value['path']}"
        elif kind == "file_series":
            self._reading.keep(key, int(step), file, moment)
        else:
            self._reading.contents[key] = file

    def _add_single(self, key: str, value: Any) -> None:
        if key.startswith(ABOUT):
            self._about[key.removeprefix(ABOUT)] = value
        else:
            assert self._reading.params is not None
            self._reading.params[key] = value

    def result(self) -> Reading:
        """Return all of it: Neptune's own attributes are the name, the tags and the times."""
        reading, about = self._reading, self._about
        for key, lines in self._texts.items():
            path = self._run.local / f"text-{len(reading.contents):08d}.txt"
            path.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
            reading.contents[f"{key}.txt"] = path
        reading.name, reading.notes = about.get("name") or None, about.get("description") or None
        reading.tags = {*about.get("tags", ()), *about.get("group_tags", ())}
        times = {name: about[name].timestamp() for name in ("creation_time", "modification_time") if name in about}
        reading.started_at = times.get("creation_time")
        reading.ended_at = self._last or times.get("modification_time")
        reading.status = "failed" if about.get("failed") else "finished"
        return reading


def _find(name: str, table: Path) -> Path | None:
    """Find a file of the export: beside its tables, or in the folder `files` beside theirs."""
    for folder in list(table.parents)[:MAX_PARENTS]:
        for path in (folder / name, folder / "files" / name):
            if path.exists():
                return path
    return None
