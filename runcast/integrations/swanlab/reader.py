"""Read a run file with SwanLab's own reader, up to where its writer was cut off or has not come yet."""

import glob
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from swanlab.exceptions import DataStoreError
from swanlab.proto.swanlab.metric.column.v1.column_pb2 import ColumnType
from swanlab.proto.swanlab.record.v1.record_pb2 import Record
from swanlab.proto.swanlab.run.v1.run_pb2 import RunState, StartRecord
from swanlab.sdk.internal.core_python.store import DataStoreReader
from swanlab.sdk.internal.pkg.adapter import medium
from swanlab.sdk.internal.run.components.config.writer import format_config

from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.swanlab.places import OWN, Places, logged
from runcast.integrations.tracked_run import found_run
from runcast.journal.records import Status
from runcast.values.points import Point, PointList

SUMMARY, STATUS, TAGS, NOTES = f"{OWN}summary/", f"{OWN}status", f"{OWN}tags", f"{OWN}notes"
ARTIFACTS = "artifacts"
STATES: Mapping[int, Status] = {  # of a file of which the config is lost
    RunState.RUN_STATE_FINISHED: "finished",
    RunState.RUN_STATE_CRASHED: "failed",
    RunState.RUN_STATE_ABORTED: "killed",
}
CHANGED = (ColumnType.COLUMN_TYPE_ECHARTS, ColumnType.COLUMN_TYPE_HTML)  # kinds whose file is not what was logged
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
FOLDER = "swanlog"
TORN = (AssertionError, DataStoreError, IndexError, struct.error)


def find_folder(run: TrackedRun) -> Path | None:
    """Find the folder of a run."""
    if "id" not in run.ids:
        return None
    folders = Path(run.ids.get("folder") or run.local / FOLDER).glob(f"run-*-{glob.escape(run.ids['id'])}")
    return next((folder for folder in sorted(folders) if any(folder.glob("run-*.swanlab"))), None)


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the runs of a run's folder, or of all folders in one, whoever wrote them."""
    path = Path(place).resolve()
    for file in sorted([path] if path.is_file() else path.rglob("run-*.swanlab")):
        start = next((record.start for record, _ in scan(file) if record.HasField("start")), None)
        if start is not None:
            is_ours = STATUS in read_config(file.parent)
            ids = {"found": str(file.parent), "runcast": start.id if is_ours else ""}
            name = start.name or file.parent.name
            yield found_run(
                f"{start.project}-{start.id or file.stem}",
                name,
                start.project or "swanlab",
                scratch,
                foreign=not is_ours,
                ids=ids,
            )


def scan(path: Path) -> Iterator[tuple[Record, int]]:
    """Yield the records of a file, each with the offset of its end."""
    reader = DataStoreReader()
    try:
        reader.open(path)
        while (data := reader.scan()) is not None:
            yield Record.FromString(data), reader._index
    except TORN:
        return
    finally:
        if reader._fp is not None:
            reader.close()


def read_places(path: Path) -> Places:
    """Read which columns and steps a file has."""
    places = Places()
    for record, _ in scan(path):
        data = record.scalar if record.HasField("scalar") else record.media if record.HasField("media") else None
        if data is not None:
            places.note(data.key, data.type, data.step)
    return places


def read_config(folder: Path) -> dict[str, Any]:
    """Read all of the config."""
    path = folder / "files" / "config.yaml"
    held = yaml.load(path.read_bytes(), Loader=LOADER) if path.exists() else {}  # noqa: S506 - it is a safe one
    return {key: entry["value"] for key, entry in (held or {}).items()}


def write_config(path: Path, values: Mapping[str, Any]) -> None:
    """Write all of the config, as SwanLab does, but whole after a kill."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new, held = path.with_suffix(".new"), format_config(dict(values), {key: at for at, key in enumerate(values)})
    new.write_text(yaml.dump(held, Dumper=DUMPER, allow_unicode=True), encoding="utf-8")
    new.replace(path)


def read_folder(folder: Path) -> Reading:
    """Read all of a run."""
    (path,) = folder.glob("run-*.swanlab")
    config, points, media = read_config(folder), PointList(), list[tuple[str, int]]()
    reading = Reading(points=points, status="running", media=media)
    for record, _ in scan(path):
        if record.HasField("scalar"):
            key, step = logged(record.scalar.key, record.scalar.step)
            points.append(Point(key, record.scalar.value.number, step, record.scalar.timestamp.ToNanoseconds() / 1e9))
        elif record.HasField("media"):
            items, kind, moment = record.media.value.items, record.media.type, record.media.timestamp.ToNanoseconds()
            key, step = logged(record.media.key, record.media.step)
            media.append((key, step))
            for number, item in enumerate(items):
                name = f"{key}/{number}" if len(items) > 1 else key
                if kind in CHANGED:
                    reading.left_out[name] = "is a chart or a page, of which SwanLab keeps another form"
                else:
                    reading.keep(name, step, folder / "media" / str(medium[kind]) / item.filename, moment / 1e9)
        elif record.HasField("start"):
            _add_start(record.start, config, reading)
        elif record.HasField("finish"):
            reading.status = config.get(STATUS) or STATES.get(record.finish.state)
            reading.ended_at = record.finish.finished_at.ToNanoseconds() / 1e9
    root = folder / "files" / ARTIFACTS
    artifacts = {path.name: path for path in root.glob("*")}
    reading.artifacts = set(artifacts)
    reading.contents.update(artifacts)
    reading.params = {key: value for key, value in config.items() if not key.startswith(OWN)}
    reading.summary = {key.removeprefix(SUMMARY): value for key, value in config.items() if key.startswith(SUMMARY)}
    return reading


def _add_start(start: StartRecord, config: dict[str, Any], reading: Reading) -> None:
    reading.started_at = start.started_at.ToNanoseconds() / 1e9
    reading.name, reading.group = start.name or None, start.group or None
    reading.notes = config.get(NOTES) or start.description or None
    reading.tags = {*start.tags, *config.get(TAGS, ())}
