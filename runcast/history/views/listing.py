"""Lists of runs: filtered, and sorted by a metric.

Only the ends of the journals are read, unless a whole one is needed: for a best value, or for a condition.
"""

import re
import time
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import JournalError, OptionError
from runcast.delivery.liveness import RunStatus, ended_at, run_status
from runcast.history.finding import list_runs
from runcast.history.views.digest import MetricDigest, digest, is_meant, listed, metric_named
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import shown
from runcast.journal.tail import last_values
from runcast.values.params import flatten, same_param
from runcast.values.scalars import ParamValue, encodable

_CONDITION = re.compile(r"(.+?)(!=|>=|<=|=|<|>)(.*)", re.DOTALL)


class ListedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run in a list; `metrics` has the last values at the end of its journal, `best` the value and step asked for."""

    id: str
    name: str
    project: str
    path: str
    status: RunStatus
    created: float
    duration_s: float
    tags: list[str]
    metrics: dict[str, Any]
    best: tuple[float, int] | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs a list holds; None or nothing means any. `conditions` are about params, such as "lr>=0.1"."""

    name: str | None = None
    project: str | None = None
    status: str | None = None
    tag: str | None = None
    conditions: tuple[str, ...] = ()


def listed_runs(
    root: Path, choice: Choice, progress: Callable[[int, int], None] | None = None, **order: Any
) -> tuple[list[ListedRun], list[str]]:
    """Return the runs of a folder, and messages about those that cannot be read.

    Args:
        root: The folder.
        choice: Which runs.
        progress: Called with the number of runs read so far and in all.
        order: The order, as for `ordered`.

    Raises:
        OptionError: A condition is not one.
        JournalError: A condition is about a param that no run has.
    """
    conditions = [_condition(text) for text in choice.conditions]
    found, damaged, params = [], [], set[str]()
    directories = list_runs(root)
    for number, directory in enumerate(directories):
        if progress is not None:
            progress(number, len(directories))
        try:
            file = directory.load()
            if _is_chosen(file, directory, choice, conditions, params):
                found.append((directory, _row(directory, file)))
        except (JournalError, OSError) as error:
            damaged.append(str(error))
    for key, _, _ in conditions:
        if params and key not in params:
            raise JournalError(f"No run has a param {key!r}. There is {listed(params)}")
    return ordered(found, **order), damaged


def ordered(
    found: Iterable[tuple[RunDirectory, ListedRun]],
    *,
    best: str | None = None,
    is_least: bool = True,
    sort: str | None = None,
    limit: int | None = None,
) -> list[ListedRun]:
    """Sort runs: the newest last, or by a metric with the best last, so that it stands above the prompt.

    Args:
        found: The runs, the oldest first.
        best: The metric whose best value counts.
        is_least: Whether the least value is the best.
        sort: The metric whose last value counts; "name" or "duration" is possible, too.
        limit: At most this many, from the end.

    Raises:
        JournalError: No run has such a metric, or several are meant.
    """
    rows = [row for _, row in found] if best is None else _with_best(found, best, is_least=is_least)
    if best is not None:
        rows.sort(key=lambda row: _rank(None if row.best is None else row.best[0], is_least=is_least))
    elif sort == "name":
        rows.sort(key=lambda row: row.name)
    elif sort == "duration":
        rows.sort(key=lambda row: row.duration_s)
    elif sort is not None and rows:
        key = metric_named(sort, {key for row in rows for key in row.metrics})
        rows.sort(key=lambda row: _rank(row.metrics.get(key), is_least=is_least))
    return rows[-limit:] if limit else rows


def _with_best(found: Iterable[tuple[RunDirectory, ListedRun]], word: str, *, is_least: bool) -> list[ListedRun]:
    """Add the best value of a metric, which is the same one in all runs."""
    meant = [(row, _meant(digest(directory).metrics, word)) for directory, row in found]
    names = {name for _, metrics in meant for name in metrics}
    if meant and not names:
        raise JournalError(f"No run has a metric {word!r}. Those of a run are shown by: runcast show RUN")
    key = metric_named(word, names) if names else word
    best = ((row, metrics[key].best(is_least=is_least) if key in metrics else None) for row, metrics in meant)
    return [msgspec.structs.replace(row, best=value) for row, value in best]


def _meant(metrics: dict[str, MetricDigest], word: str) -> dict[str, MetricDigest]:
    """Return the metrics that a word may mean; of thousands of runs, the others are not kept."""
    return {key: one for key, one in metrics.items() if is_meant(key, word)}


def _rank(value: float | str | None, *, is_least: bool) -> tuple[bool, float]:
    if value is None or isinstance(value, str):  # one that is not finite
        return False, 0.0
    return True, -value if is_least else value


def _row(directory: RunDirectory, file: RunFile) -> ListedRun:
    return ListedRun(
        id=file.id,
        name=file.name,
        project=file.project,
        path=shown(directory.path),
        status=run_status(directory, file),
        created=file.created,
        duration_s=duration_of(directory, file),
        tags=file.tags,
        metrics={key: encodable(value) for key, value in last_values(directory.journal).items()},
    )


def duration_of(directory: RunDirectory, file: RunFile) -> float:
    """Return how long the last session of a run took, or has taken until now, in seconds."""
    is_running = run_status(directory, file) == "running"
    return max(0.0, (time.time() if is_running else ended_at(directory)) - file.started)


def _is_chosen(
    file: RunFile, directory: RunDirectory, choice: Choice, conditions: list[tuple[str, str, str]], seen: set[str]
) -> bool:
    """Return whether a run is listed; add its params, if there are conditions about any, to those *seen*."""
    if choice.name is not None and not _matches(choice.name, file.name, file.id):
        return False
    if choice.project is not None and not _matches(choice.project, file.project):
        return False
    if choice.tag is not None and choice.tag not in file.tags:
        return False
    if conditions:
        params = {**flatten(file.config), **digest(directory).params}
        seen.update(params)
        if not all(_holds(params, *condition) for condition in conditions):
            return False
    return choice.status is None or run_status(directory, file) == choice.status


def _matches(pattern: str, *texts: str) -> bool:
    """Return whether one of the texts is, or matches, a pattern; a name may have brackets of its own."""
    return any(text == pattern or fnmatch(text, pattern) for text in texts)


def _condition(text: str) -> tuple[str, str, str]:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise OptionError(f"{text!r} is not a condition. Write it as: lr=0.1, depth>=3 or optimizer!=sgd")
    return match[1].strip(), match[2], match[3].strip()


def _holds(params: dict[str, ParamValue], key: str, sign: str, wanted: str) -> bool:
    if key not in params:
        return False
    value = params[key]
    if sign in ("=", "!="):
        return (same_param(value, wanted) or str(value) == wanted) is (sign == "=")
    try:
        found, limit = float(str(value)), float(wanted)
    except ValueError:
        return False
    return {">": found > limit, "<": found < limit, ">=": found >= limit, "<=": found <= limit}[sign]
