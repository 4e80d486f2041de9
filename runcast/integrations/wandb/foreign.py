"""Find and read the runs in W&B's transaction files, whoever wrote them, each of all processes that had it open.

Of an artifact the files are there as long as W&B keeps them in its own folder. Not read: system metrics, the console.
Seen in wandb 0.31.0, 2026-12-01.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runcast.core.errors import RuncastError
from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.files import link_file
from runcast.integrations.tracked_run import found_run
from runcast.integrations.wandb.reader import CREATED, OWN_KEYS, STATUS_OF_EXIT, STEP, TABLE_TYPE, TIME, read_records
from runcast.values.media.kinds import Histogram, Table
from runcast.values.points import Point, PointList
from runcast.values.scalars import decoded

OF_WANDB = frozenset(
    ("media", "config.yaml", "output.log", "requirements.txt", "wandb-metadata.json", "wandb-summary.json")
)
RESERVED = OWN_KEYS - {STEP}  # which is W&B's own step for runcast only, and a metric of other scripts
OWN_TYPES = (TABLE_TYPE, "job", "code", "wandb-history")
SUFFIX = ".wandb"


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the runs of a file, of a run's folder, or of all folders in one, the oldest first."""
    path = Path(place)
    names = [path] if path.is_file() else path.rglob(f"run-*{SUFFIX}")
    files: dict[tuple[str, str, str], list[Path]] = {}
    heads: dict[tuple[str, str, str], tuple[Any, bool]] = {}
    for file in sorted({file.resolve() for file in names}, key=lambda file: _begun(file.parent.name)):
        head = _read_head(file)
        if head is not None:
            identity = head[0].entity, head[0].project, head[0].run_id
            files.setdefault(identity, []).append(file)
            heads.setdefault(identity, head)
    for identity, (run, is_ours) in heads.items():
        folder = str(files[identity][0].parents[1])
        ids = {"id": run.run_id, "folder": folder, "files": json.dumps([str(file) for file in files[identity]])}
        yield found_run(
            f"{run.project or 'uncategorized'}-{run.run_id}",
            run.display_name or run.run_id,
            run.project or "uncategorized",
            scratch,
            foreign=not is_ours,
            group=run.run_group or None,
            ids={**ids, **({"runcast": run.run_id} if is_ours else {})},
        )


def _begun(folder: str) -> str:
    return folder.removeprefix("offline-").removeprefix("run-")


def _read_head(file: Path) -> tuple[Any, bool] | None:
    """Read what a file says of the run, and whether runcast wrote it; None if it has nothing."""
    run, is_ours = None, False
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = run or record.run
        elif kind == "config":
            is_ours = is_ours or any(item.key == CREATED for item in record.config.update)
        elif kind == "history":
            break
    return None if run is None else (run, is_ours)


def read_foreign(run: TrackedRun) -> Reading:
    """Read all of a run."""
    reader = _Reader(run.local)
    for name in json.loads(run.ids["files"]):
        reader.add_file(Path(name))
    return reader.result()


class _Reader:
    """What has been read of a run so far; files that W&B keeps in another form go into *scratch*."""

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._folder = scratch, scratch
        self._points = PointList()
        self.reading = Reading(points=self._points, params={}, summary={}, tags=set())

    def add_file(self, path: Path) -> None:
        """Add the records of one process."""
        self._folder, self.reading.status = path.parent / "files", "running"
        for record in read_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self._add_run(record.run)
            elif kind == "config":
                self._add_params(record.config)
            elif kind == "history":
                self._add_row(record.history)
            elif kind == "summary":
                self._add_summary(record.summary)
            elif kind == "artifact" and record.artifact.type not in OWN_TYPES:
                self._add_artifact(record.artifact)
            elif kind == "exit":
                self.reading.status = STATUS_OF_EXIT.get(record.exit.exit_code, "failed")
                self.reading.ended_at = (self.reading.started_at or 0.0) + record.exit.runtime
        for file in sorted(self._folder.glob("*")):
            if file.name not in OF_WANDB:
                self.reading.contents[file.name] = file

    def result(self) -> Reading:
        """Return all of it. W&B counts the seconds of a run whole, so its last row may come after its end."""
        if self.reading.ended_at is not None:
            self.reading.ended_at = max(self.reading.ended_at, *(point.time for point in self._points), 0.0)
        return self.reading

    def _add_run(self, run: Any) -> None:
        reading = self.reading
        if run.start_time.seconds and reading.started_at is None:
            reading.started_at = run.start_time.ToMicroseconds() / 1e6
        self._add_params(run.config)
        reading.name, reading.notes = run.display_name or reading.name, run.notes or reading.notes
        reading.tags = {*(reading.tags or ()), *run.tags}

    def _add_params(self, config: Any) -> None:
        assert self.reading.params is not None
        for item in config.update:
            tree, path = self.reading.params, [item.key] if item.key else list(item.nested_key)
            if path[0] in RESERVED:
                continue
            for part in path[:-1]:
                tree = tree.setdefault(part, {}) if isinstance(tree.get(part, {}), dict) else {}
            tree[path[-1]] = json.loads(item.value_json)

    def _add_summary(self, summary: Any) -> None:
        """Add what the script has given; the last value of each metric, which W&B adds, has a nested key."""
        assert self.reading.summary is not None
        given = {item.key: json.loads(item.value_json) for item in summary.update if not item.nested_key}
        self.reading.summary |= {key: decoded(value) for key, value in given.items() if key not in RESERVED}

    def _add_row(self, history: Any) -> None:
        entries = {tuple(item.nested_key) or (item.key,): decoded(json.loads(item.value_json)) for item in history.item}
        step, time = entries.get(("_step",), history.step.num), float(entries.get((TIME,), 0.0))
        media = {key[:-1] for key in entries if key[-1] == "_type"}
        for key, value in entries.items():
            name = "/".join(key)
            if name in RESERVED:
                continue
            if not any(key[: len(each)] == each for each in media):
                if isinstance(value, int | float):
                    self._points.append(Point(name, value, step, time))
                else:
                    self.reading.left_out[name] = "is no number"
        for each in media:
            about = {"/".join(key[len(each) :]): value for key, value in entries.items() if key[: len(each)] == each}
            self._add_medium("/".join(each), step, time, about)

    def _add_medium(self, key: str, step: int, time: float, about: Mapping[str, Any]) -> None:
        """Add what W&B has written of a medium: where its file is, or what is in it."""
        stem = f"{len(self.reading.contents):08d}"
        try:
            if about["_type"] == "histogram":
                counts, edges = about["values"], about.get("bins")
                if edges is None:
                    low, size, count = (about[f"packedBins/{name}"] for name in ("min", "size", "count"))
                    edges = [low + size * at for at in range(count + 1)]
                found = [Histogram(counts=counts, edges=edges).save(self._scratch, stem)]
            elif about["_type"] == "table-file":
                held = json.loads(self._folder.joinpath(about["path"]).read_text(encoding="utf-8"))
                found = [Table(held["data"], [str(name) for name in held["columns"]]).save(self._scratch, stem)]
            else:
                found = [self._folder / name for name in about.get("filenames") or [about["path"]]]
        except (OSError, ValueError, KeyError, TypeError, RuncastError) as error:
            self.reading.left_out[key] = f"is W&B's {about['_type']}, which cannot be read: {error}"
            return
        for number, file in enumerate(found):
            self.reading.keep(f"{key}/{number}" if len(found) > 1 else key, step, file, time)

    def _add_artifact(self, artifact: Any) -> None:
        """Add the files of an artifact that W&B still has, under their paths in it."""
        folder = self._scratch / "artifacts" / f"{len(self.reading.contents):08d}" / artifact.name
        lacking = 0
        for entry in artifact.manifest.contents:
            target = folder / entry.path
            if not entry.local_path or not Path(entry.local_path).is_file() or ".." in Path(entry.path).parts:
                lacking += 1
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            link_file(entry.local_path, target)
        if folder.is_dir():
            inside = list(folder.rglob("*"))
            only = inside[0] if len(inside) == 1 else folder
            self.reading.contents[artifact.name] = only
        if lacking:
            self.reading.left_out[artifact.name] = f"is an artifact of which {lacking} files are not on this machine"
