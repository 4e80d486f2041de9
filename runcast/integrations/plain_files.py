"""Read runs that were kept as plain files: tables of metrics, lines of JSON, and the state of transformers' Trainer.

Lightning's and Keras's CSVLogger, Ultralytics' results.csv, and scripts that print a line of JSON for each step. For
`import` only: no run is written here.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.integrations.more import ARCHIVES, LINES
from runcast.integrations.tracked_run import found_run
from runcast.values.numbers import leaves
from runcast.values.points import Point, PointList
from runcast.values.scalars import decoded

STEPS = ("global_step", "step", "_step", "iteration", "iter", "epoch")
TIMES = ("time", "timestamp", "_timestamp", "wall_time")
STATE = "trainer_state.json"
FIRST_S, FIRST_MS = 1e9, 1e12  # above which a number is a time since the epoch in seconds, or in milliseconds


class PlainFiles(Tracker):
    """A reader of plain files; a file of another name is read if it is named itself."""

    name = "files"

    def read(self, run: TrackedRun) -> Reading:
        path = Path(run.ids["file"])
        ended = path.stat().st_mtime
        try:
            if path.name == STATE:
                return _read_state(json.loads(path.read_text(encoding="utf-8")), ended)
            reading = Reading(ended_at=ended, params=_read_params(path.with_name("hparams.yaml")))
            _Rows(reading).add(_lines(path) if path.suffix.lower() in LINES else _table(path))
        except (ValueError, csv.Error) as error:
            raise FinalError(f"{path} cannot be read: {error}") from error
        if not reading.points:
            raise FinalError(f"{path} has no numbers.")
        return reading

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        path = Path(place).resolve()
        found = [path] if path.is_file() else [file for name in ARCHIVES[self.name].keeps for file in path.rglob(name)]
        root = path if path.is_dir() else path.parent
        states: dict[Path, Path] = {}
        for file in sorted(found):
            if file.name == STATE:  # each checkpoint has one, and the last one has all
                of = file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent
                states[of] = max(states.get(of, file), file, key=_last_step)
            else:
                yield _found(file, file.parent if path.is_dir() else file, root, folder)
        for of, file in states.items():
            yield _found(file, of, root, folder)


def _found(file: Path, named: Path, root: Path, folder: Path) -> TrackedRun:
    inside = named.is_relative_to(root) and named != root
    name = named.relative_to(root).as_posix() if inside else named.name
    identity = hashlib.sha256(f"{named}\n{file.name}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return found_run(identity, name, root.name or "files", folder, ids={"file": str(file)})


def _last_step(state: Path) -> int:
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1


def _read_state(state: Any, ended: float) -> Reading:
    """Read what transformers' Trainer has logged, under the names that it gives to every tracker."""
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise ValueError("it is not a state of transformers' Trainer")
    reading = Reading(ended_at=ended, summary={})
    for row in state["log_history"]:
        step = row.get("step", 0)
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float):
                assert isinstance(reading.points, PointList)
                reading.points.append(Point(_rewritten(key), value, step))
    is_whole = state.get("global_step", 0) >= state.get("max_steps", 0)
    reading.status = "finished" if is_whole or "train_runtime" in str(state["log_history"][-1:]) else "running"
    kept = ("best_metric", "best_global_step", "best_model_checkpoint", "total_flos")
    reading.summary = {key: state[key] for key in kept if state.get(key) is not None}
    return reading


def _rewritten(key: str) -> str:
    for prefix in ("eval", "test"):
        if key.startswith(f"{prefix}_"):
            return f"{prefix}/{key.removeprefix(f'{prefix}_')}"
    return f"train/{key}"


def _read_params(path: Path) -> dict[str, Any]:
    """Read Lightning's hyperparameters; tags that only Lightning understands make it a text."""
    if not path.exists():
        return {}
    import yaml  # type: ignore[import-untyped]  # rarely needed

    text = path.read_text(encoding="utf-8")
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {path.name: text}
    return found if isinstance(found, dict) else {}


def _table(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header = [name.strip() for name in next(rows, [])]
        for row in rows:
            yield {name: _typed(cell.strip()) for name, cell in zip(header, row, strict=False)}


def _typed(cell: str) -> Any:
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return decoded(cell) if cell else None


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError:  # cut in mid-write, or a line of a log
                continue
            if isinstance(found, dict):
                yield dict(leaves(found))


class _Rows:
    """The rows of a file, each with the metrics of a step."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._points = reading, PointList()
        reading.points = self._points

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add all rows; a row without a step has that of the row before it, or its number if no row has one."""
        last: int | None = None
        for number, row in enumerate(rows):
            at = next((name for name in STEPS if name in row and _is_step(row[name])), None)
            when = next((name for name in TIMES if name in row and _moment(row[name])), None)
            if at is not None:
                last = int(row[at])
            for key, given in row.items():
                value = decoded(given)
                if key in (at, when) or value is None:
                    continue
                if isinstance(value, int | float):
                    step = number if last is None else last
                    self._points.append(Point(key, value, step, _moment(row[when]) if when else 0.0))
                else:
                    self._reading.left_out[key] = "is no number"


def _is_step(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1


def _moment(value: Any) -> float:
    """Return a time in seconds since the epoch; 0.0 for what is none, such as the seconds of a training."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            return 0.0
    if not isinstance(value, int | float) or not FIRST_S < value < FIRST_MS * 100:
        return 0.0
    return value / 1000 if value > FIRST_MS else float(value)
