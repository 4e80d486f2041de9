"""Read a run back from its own database in the repository, which is what `aim up` makes its index of."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aim.storage.treeview import TreeView

from runcast.integrations.contract import Reading
from runcast.values.points import Point, PointList

OWN, MEDIA = "runcast", "media"


def read_run(repo: Any, name: str) -> Reading:
    """Read all of a run."""
    repo.container_pool.clear()  # a container shows what there was when it was opened
    about = _tree(repo, "meta", name).subtree(("meta", "chunks", name))
    series = _tree(repo, "seqs", name).subtree("seqs")
    params = dict(about.get("attrs", {}))
    own = params.pop(OWN, {})
    points, media = PointList(), list[tuple[str, int]]()
    reading = Reading(points=points, params=params, summary=dict(own.get("summary", {})), media=media)
    contexts = about.get("contexts", {})
    for index, traces in about.get("traces", {}).items():
        context = contexts.get(index, {})
        for key in traces:
            if MEDIA in context:
                values = series.subtree(("chunks", name, index, key)).array("val")
                media += [(key, step) for step, _ in values.items()]
            else:
                for point in _points(series.subtree(("v2", "chunks", name, index, key)), key):
                    points.append(point)
    kept = about.get("artifacts", {})
    reading.artifacts = {inner.partition("/")[0] for inner in kept}
    reading.contents = {one: Path(repo.root_path, "artifacts", name, one) for one in reading.artifacts}
    props = repo.request_props(name, read_only=True)
    reading.tags, reading.name, reading.notes = set(props.tags), props.name, props.description or None
    reading.group, reading.status = own.get("group"), own.get("status")
    reading.started_at = props.creation_time
    reading.ended_at = about.get("end_time") if reading.status != "running" else None
    return reading


def _tree(repo: Any, kind: str, name: str) -> TreeView:
    return repo.request_tree(kind, name, read_only=True, skip_read_optimization=True)


def _points(series: Any, key: str) -> Iterator[Point]:
    """Yield the whole points of a metric; Aim writes the step last."""
    values, times = dict(series.array("val").items()), dict(series.array("time").items())
    for at, step in series.array("step").items():
        yield Point(key, values[at], step, times[at])
