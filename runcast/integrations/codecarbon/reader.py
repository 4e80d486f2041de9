"""Read the rows of a run, which may have had several meters, as the metrics that they mean."""

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from runcast.integrations.contract import TrackedRun
from runcast.values.points import Point
from runcast.values.scalars import Number

FILE = "emissions.csv"
# Latitude and longitude of the last resort of GeoMetadata.from_geo_js (external/geography.py).
QUEBEC = ("46.8", "-71.2")
COVERS = "covers"  # of a meter whose duration is called `measured_s`; in 0.1 it was `duration_s`


def file_of(run: TrackedRun) -> Path:
    """Return the file with the rows of a run."""
    return Path(run.ids.get("file", run.local / FILE))


class Row(NamedTuple):
    """The amounts up to a moment; `is_old` if a meter of runcast 0.1 wrote them."""

    time: float
    amounts: dict[str, float]
    is_old: bool


def points(run: TrackedRun) -> list[Point]:
    """Return what was measured, as points whose steps count the rows."""
    return [
        Point(key, value, step, row.time)
        for step, row in enumerate(history(run))
        for key, value in metrics(row.amounts, is_old=row.is_old).items()
    ]


def history(run: TrackedRun) -> list[Row]:
    """Read the rows of this run; several meters in turn each continue from the previous amounts."""
    found: list[Row] = []
    before: dict[str, float] = {}
    meter = ""
    for row in csv.DictReader(file_of(run).read_text().splitlines() if file_of(run).exists() else ()):
        if row["run_id"] not in run.ids or None in row or None in row.values():
            continue  # a torn row has too few cells, the one after it too many
        if row["run_id"] != meter:
            meter, before = row["run_id"], found[-1].amounts if found else {}
        sources = run.ids[meter].split()
        moment = datetime.fromisoformat(row["timestamp"]).timestamp()
        found.append(Row(moment, add(before, amounts_of(row, sources)), is_old=COVERS not in sources))
    return found


def amounts_of(row: Mapping[str, str], sources: list[str]) -> dict[str, float]:
    """Return the amounts of a row, of which *sources* names the parts that were measured."""
    energy = {part: float(row[f"{part}_energy"]) for part in ("cpu", "gpu", "ram")}
    amounts = {
        "measured_s": float(row["duration"]),
        "energy_kwh": float(row["energy_consumed"]),
        "energy_measured_kwh": sum((energy[part] for part in energy if part in sources), 0.0),
        **{f"{part}_energy_kwh": value for part, value in energy.items()},
    }
    if "placed" not in sources:
        return {**amounts, "emissions_kg_world_average": float(row["emissions"])}
    is_guess = (row["latitude"], row["longitude"]) == QUEBEC
    return amounts if is_guess else {**amounts, "emissions_kg": float(row["emissions"])}


def add(before: Mapping[str, float], amounts: Mapping[str, float]) -> dict[str, float]:
    """Add amounts to those of the sessions before."""
    return {**before, **{name: before.get(name, 0.0) + amount for name, amount in amounts.items()}}


def metrics(amounts: Mapping[str, float], *, is_old: bool = False) -> dict[str, Number]:
    """Return amounts under the names of the metrics, with the power."""
    power_w = amounts["energy_kwh"] * 3.6e6 / amounts["measured_s"]
    names = {"measured_s": "duration_s"} if is_old else {}
    return {f"codecarbon/{names.get(name, name)}": value for name, value in [*amounts.items(), ("power_w", power_w)]}
