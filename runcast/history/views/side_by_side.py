"""Runs beside each other: what was configured differently, and what came out."""

from typing import Any

import msgspec

from runcast.delivery.liveness import RunStatus, run_status
from runcast.history.finding import short_id
from runcast.history.views.contents import contents, own_first
from runcast.history.views.digest import Digest, digest, metric_named
from runcast.history.views.listing import duration_of
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import shown
from runcast.values.params import same_param


class MetricComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of several runs: the last value, the least and the greatest of each; None where a run has none."""

    last: list[Any]
    least: list[float | None]
    greatest: list[float | None]


class RunComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Several runs beside each other; every list has an entry for each run, None for what a run does not have.

    `params` holds those that differ, `same` is the number of the others.
    """

    ids: list[str]
    names: list[str]
    paths: list[str]
    statuses: list[RunStatus]
    created: list[float]
    durations_s: list[float]
    commands: list[str]
    params: dict[str, list[Any]]
    same: int
    summary: dict[str, list[Any]]
    metrics: dict[str, MetricComparison]


def compare_runs(directories: list[RunDirectory]) -> RunComparison:
    """Compare runs.

    Raises:
        JournalError: A folder is not a run, or is damaged.
    """
    files = [directory.load() for directory in directories]
    digests = [digest(directory) for directory in directories]
    params = _side_by_side([held.params for held in digests])
    differing = {key: values for key, values in params.items() if not all(same_param(values[0], one) for one in values)}
    return RunComparison(
        ids=[file.id for file in files],
        names=[file.name for file in files],
        paths=[shown(directory.path) for directory in directories],
        statuses=[run_status(directory, file) for directory, file in zip(directories, files, strict=True)],
        created=[file.created for file in files],
        durations_s=[duration_of(directory, file) for directory, file in zip(directories, files, strict=True)],
        commands=[" ".join(file.argv) for file in files],
        params=differing,
        same=len(params) - len(differing),
        summary=_side_by_side([held.summary for held in digests]),
        metrics=_metrics(digests),
    )


def distinct_names(names: list[str], ids: list[str]) -> list[str]:
    """Return the names of runs, those of runs with one name with the ends of their ids."""
    return [
        f"{name} ({short_id(run_id)})" if names.count(name) > 1 else name
        for name, run_id in zip(names, ids, strict=True)
    ]


def curves_of(directories: list[RunDirectory], word: str) -> tuple[str, list[list[tuple[int, float]]]]:
    """Return the name of the metric that a word means in any of the runs, and its curve in each.

    Raises:
        JournalError: No run has such a metric, or several are meant.
    """
    held = [contents(directory) for directory in directories]
    key = metric_named(word, list(dict.fromkeys(key for one in held for key in one.curves)))
    return key, [one.curves.get(key, []) for one in held]


def _side_by_side(each: list[dict[str, Any]]) -> dict[str, list[Any]]:
    keys = dict.fromkeys(key for values in each for key in values)
    return {key: [values.get(key) for values in each] for key in own_first(keys)}


def _metrics(digests: list[Digest]) -> dict[str, MetricComparison]:
    found = {}
    for key in own_first({key for held in digests for key in held.metrics}):
        each = [held.metrics.get(key) for held in digests]
        found[key] = MetricComparison(
            last=[None if one is None else one.last for one in each],
            least=[None if one is None else one.least for one in each],
            greatest=[None if one is None else one.greatest for one in each],
        )
    return found
