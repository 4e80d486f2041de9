"""Find and read folders of DVCLive, whoever wrote them. Experiments that are only in Git are not among them.

Seen in dvclive 3.49.1, 2026-12-01.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from dvclive.plots import Image, Metric
from dvclive.serialize import load_yaml

from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.dvclive.reader import flatten, read_table, tables
from runcast.integrations.tracked_run import found_run
from runcast.journal.records import Status
from runcast.values.points import PointList

OWN = frozenset((*get_args(Status), "running"))  # the values of `status` in a folder that runcast wrote


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the folders that have a metrics.json, with params or plots beside it."""
    path = Path(place).resolve()
    root = path if path.is_dir() else path.parent
    for metrics in sorted(root.rglob("metrics.json")):
        folder = metrics.parent
        if not ((folder / "plots").is_dir() or (folder / "params.yaml").is_file()):
            continue
        named = folder.parent if folder.name == "dvclive" else folder
        held = json.loads(metrics.read_text(encoding="utf-8"))
        yield found_run(
            hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:12],
            named.relative_to(root).as_posix() if named != root and named.is_relative_to(root) else named.name,
            root.name,
            scratch,
            foreign=held.get("status") not in OWN,
            ids={"dir": str(folder)},
        )


def read_foreign(folder: Path) -> Reading:
    """Read all of a run; metrics.json has its last values, and what the script has added to them."""
    metrics = folder / "metrics.json"
    values = flatten(json.loads(metrics.read_text(encoding="utf-8")))
    points = PointList(point for path in tables(folder) for point in read_table(path))
    logged, last = {point.key for point in points}, values.pop("step", 0)
    params = folder / "params.yaml"
    reading = Reading(
        points=points,
        params=load_yaml(params) if params.exists() else {},
        summary={key: value for key, value in values.items() if key not in logged},
        ended_at=metrics.stat().st_mtime,
    )
    root = folder / "plots" / Image.subfolder
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        inside = path.relative_to(root)
        if inside.stem.isdigit() and len(inside.parts) > 1:  # as `cache_images` keeps them
            reading.keep(inside.parent.as_posix(), int(inside.stem), path, path.stat().st_mtime)
        else:
            reading.keep(inside.with_suffix("").as_posix(), int(last), path, path.stat().st_mtime)
    others = [*(folder / "plots").glob("*"), *(folder / "artifacts").glob("*")]
    for path in sorted(others):
        if path.name not in (Metric.subfolder, Image.subfolder, ".gitignore") and path.suffix != ".dvc":
            reading.contents[path.name] = path
    return reading
