"""Read the folder of a run: a table for each metric, metrics.json, params.yaml and the files."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dvclive.plots import Metric
from dvclive.serialize import load_yaml

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading
from runcast.integrations.files import MARKED, cut_torn_line, name_of
from runcast.values.points import Point, PointList

SUMMARY = "summary/"


def read_folder(folder: Path) -> Reading:
    """Read all of a run."""
    if not (folder / "metrics.json").exists():
        raise FinalError(f"DVCLive has nothing of the run in {folder}. Deliver the run with: runcast sync")
    values = flatten(json.loads((folder / "metrics.json").read_text()))
    params = folder / "params.yaml"
    media = [
        ((name_of(path.parent.relative_to(root).as_posix()), int(path.stem)), path)
        for root in (folder / "plots" / "images", folder / "media")
        for path in root.rglob("*")
        if path.is_file()
    ]
    artifacts = {
        path.name: path
        for pattern in ("*", f"{MARKED}/*")
        for path in (folder / "artifacts").glob(pattern)
        if path.suffix != ".dvc" and path.name != ".gitignore"
    }
    places: list[tuple[str | tuple[str, int], Path]] = [*media, *artifacts.items()]
    return Reading(
        points=PointList(point for path in tables(folder) for point in read_table(path)),
        params=load_yaml(params) if params.exists() else {},
        summary={key.removeprefix(SUMMARY): value for key, value in values.items() if key.startswith(SUMMARY)},
        artifacts=set(artifacts),
        media=[name for name, _ in media],
        contents=dict(places),
        status=values.get("status"),
    )


def tables(folder: str | Path) -> list[Path]:
    """List the tables of a run."""
    return sorted(Path(folder, "plots", Metric.subfolder).rglob("*.tsv"))


def repair(path: Path) -> Iterable[Point]:
    """Cut off a line that a kill has torn; return the last point, if there is one."""
    cut_torn_line(path)
    return deque(read_table(path), maxlen=1)


def read_table(path: Path) -> Iterator[Point]:
    """Yield the points of a table."""
    key = name_of(path.as_posix().rpartition(f"/plots/{Metric.subfolder}/")[2].removesuffix(".tsv"))
    text = path.read_bytes().rpartition(b"\n")[0].decode()
    header, *rows = (line.rstrip("\r").split("\t") for line in text.split("\n"))
    for row in rows:
        yield Point(
            key, int(row[-1]) if row[-1].lstrip("-").isdigit() else float(row[-1]), int(row[header.index("step")])
        )


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make groups of names with slashes; what lies below a name that has a value keeps the rest of its own name."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        parts, node, depth = key.split("/"), tree, 0
        while depth < len(parts) - 1 and "/".join(parts[: depth + 1]) not in values:
            node = node.setdefault(parts[depth], {})
            depth += 1
        node["/".join(parts[depth:])] = value
    return tree


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Undo `nest`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}{key}/") if isinstance(value, dict) else {prefix + key: value}
    return flat
