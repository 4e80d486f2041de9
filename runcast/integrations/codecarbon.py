"""Measures the energy and the emissions of the training's machine with CodeCarbon.

What it measures reaches every other tracker.

Needs: the distribution `codecarbon`, 3.0 or later; tested with 3.3.2. No root, no network, no lock.

Writes: `emissions.csv` in the run's own folder, a row for each measurement: every `measure_power_secs` (15) and at the
end. All of `setup={"codecarbon": {...}}`, `CODECARBON_*` and `.codecarbon.config` keep their meaning. With
`tracking_mode=process` it is the training process that is measured. The place is looked up over the network only with
`online=True`; while it is not known, emissions are reckoned with the world's average and called so.
`energy_measured_kwh` is the part of `energy_kwh` that comes from sensors; the rest is an estimate. `measured_s` is how
many seconds of `training_s` were measured, over all sessions. While that is less than half, the amounts are called
`codecarbon/partial/energy_kwh` and so on, as they are not those of the run.

Drops: all that is logged, and the status: CodeCarbon holds nothing but its measurements.

Limits (read in codecarbon 3.3.2, 2026-11-20): nothing is measured before the SDK is up, between a kill and the restart,
and after the training; of several machines, only that of the first rank. Where the look-up fails, CodeCarbon takes the
place to be Quebec; emissions are not reported then. With `on_csv_write=update` the file keeps the last row only.
"""

import csv
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from codecarbon import EmissionsTracker, OfflineEmissionsTracker
from codecarbon.core.config import get_hierarchical_config
from codecarbon.input import DataSource
from codecarbon.output_methods.base_output import BaseOutput

from runcast.core.errors import FinalError
from runcast.integrations.contract import Ending, Number, Point, Reading, TrackedRun, Tracker

EVERY_S = 15.0
FILE = "emissions.csv"
UNKEPT = "CodeCarbon keeps no file (save_to_file=False): what it measures is in the journal and in the other trackers"
QUEBEC = (
    "46.8",
    "-71.2",
)  # latitude and longitude of the last resort of GeoMetadata.from_geo_js (external/geography.py)
COVERS = "covers"  # of a meter whose duration is called `measured_s`; in 0.1 it was `duration_s`
ESTIMATES = ("cpu_load", "constant")  # the modes of its CPU class (external/hardware.py) that read no sensor

log = logging.getLogger(__name__)


class CodecarbonTracker(Tracker):
    """A meter. Each measurement is a row of the file, and what `measure` returns of it is what `read` returns."""

    name = "codecarbon"
    supports = frozenset()
    measures = True

    _meter: Any = None

    def setup(self, run: TrackedRun) -> None:
        run.url = str(_file(run))
        if not run.trains:
            log.warning("CodeCarbon measures nothing more of run %s: its training is over", run.id)
            return
        self._swallowed = _Swallowed()
        logging.getLogger("codecarbon").addFilter(self._swallowed)
        configured = get_hierarchical_config()
        arguments = _arguments(run, configured)
        settings = configured | arguments
        is_online = arguments.pop("online", False) and not _has_place(settings)
        self._swallowed.is_quiet = "log_level" not in configured | dict(run.options)
        try:
            folder = Path(settings["output_dir"]).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            if folder != run.local or "output_file" in settings:
                run.remember(file=str(folder / settings.get("output_file", FILE)))
            self._every_s = float(settings.get("measure_power_secs", EVERY_S))
            self._rows = _Rows()
            with _signal_handlers_kept():
                meter = (EmissionsTracker if is_online else OfflineEmissionsTracker)(
                    **arguments, output_handlers=[self._rows]
                )
            if not getattr(meter, "_save_to_file", True):
                log.warning("%s.", UNKEPT)
                run.remember(**{FILE: UNKEPT})
            meter_id = str(meter.run_id)  # which it lacks if its constructor has swallowed an exception
            sources = _sources(meter, run.pid if settings.get("tracking_mode") == "process" else 0)
            meter.start()
            if meter._start_time is None:
                raise FinalError(self._failure())
            is_placed = is_online or _has_place(settings)
        except (AssertionError, AttributeError, OSError, TypeError, ValueError) as error:
            raise FinalError(self._failure(error)) from error
        history = _history(run)
        self._before = history[-1].amounts if history else {}
        self._sources = (
            [part for part, source in sources.items() if source == "measured"] + ["placed"] * is_placed + [COVERS]
        )
        run.remember(**{meter_id: " ".join(self._sources)})
        place = run.directory / "journal.jsonl" if FILE in run.ids else _file(run)
        run.url, self._meter, self._due = str(place), meter, time.monotonic() + self._every_s
        means = (
            "of its place"
            if is_placed
            else "estimated as the world's average (no country is known: set CODECARBON_COUNTRY_ISO_CODE)"
        )
        log.warning(
            "CodeCarbon: %s; emissions %s", ", ".join(f"{part} {source}" for part, source in sources.items()), means
        )

    def measure(self, final: bool) -> Mapping[str, Number]:
        if self._meter is None or not (final or time.monotonic() >= self._due):
            return {}
        meter, self._due = self._meter, time.monotonic() + self._every_s
        if final:
            self._meter = None
        if (meter.stop() if final else meter.flush()) is None:
            raise FinalError(self._failure())
        amounts = _amounts(self._rows.last, self._sources)
        if final and not any(name.startswith("emissions") for name in amounts):
            log.warning(
                "CodeCarbon: emissions are not known, as the look-up of the place failed. Set "
                "CODECARBON_COUNTRY_ISO_CODE."
            )
        return _metrics(_add(self._before, amounts))

    def finish(self, ending: Ending) -> None:
        if self._meter is not None:
            self._meter.stop()
            self._meter = None

    def read(self, run: TrackedRun) -> Reading:
        history = enumerate(_history(run))
        return Reading(
            unreadable=run.ids.get(FILE),
            points=[
                Point(key, value, row, when)
                for row, (when, amounts, is_old) in history
                for key, value in _metrics(amounts, is_old=is_old).items()
            ],
        )

    def _failure(self, error: Exception | None = None) -> str:
        reason = str(self._swallowed.last or error or "it does not say why").rstrip(".")
        where = "setup={'codecarbon': …}, CODECARBON_* and .codecarbon.config"
        return f"CodeCarbon cannot measure: {reason}. Look at {where}."


class _Rows(BaseOutput):  # type: ignore[misc]
    """A receiver of what is about to be a row of the file."""

    def out(self, total: Any, delta: Any) -> None:
        """Keep the row as the texts that the file holds."""
        self.last = {name: str(value) for name, value in total.values.items()}


class _Swallowed(logging.Filter):
    """The reasons of failures, which CodeCarbon's `start`, `flush` and `stop` only log.

    Shows nothing but errors while `is_quiet`.
    """

    is_quiet = True
    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a message."""
        if record.levelno >= logging.ERROR or record.exc_info:
            error = record.exc_info[1] if record.exc_info else None
            self.last = f"{type(error).__name__}: {error}" if error else record.getMessage()
        return record.levelno >= logging.ERROR or not self.is_quiet


def _arguments(run: TrackedRun, configured: Mapping[str, str]) -> dict[str, Any]:
    """List what to pass to CodeCarbon, which reads its variables and files itself, after the arguments."""
    defaults = {
        "output_dir": str(run.local),
        "log_level": "warning",
        "project_name": run.project,
        "experiment_name": run.name,
    }
    arguments: dict[str, Any] = {name: value for name, value in defaults.items() if name not in configured}
    if "project" in run.given:
        arguments["project_name"] = run.project
    if "save_to_api" in configured and not run.online:
        arguments["save_to_api"] = False
    return arguments | dict(run.options)


def _has_place(settings: Mapping[str, Any]) -> bool:
    country = str(settings.get("country_iso_code") or "").upper()
    is_known = bool(country) and country in DataSource().get_global_energy_mix_data()
    return is_known or any(settings.get(name) for name in ("cloud_provider", "force_carbon_intensity_g_co2e_kwh"))


def _sources(meter: Any, pid: int) -> dict[str, str]:
    """Return which parts are measured and which estimated.

    Make the meter look at process *pid*, if any, and not at this one.
    """
    getattr(
        meter, "get_detected_hardware", list
    )()  # where there is no such method, the constructor has looked for the hardware
    sources = {}
    for hardware in meter._hardware:
        part = getattr(hardware, "chip_part", type(hardware).__name__).lower()
        is_estimate = type(hardware).__name__ == "RAM" or getattr(hardware, "_mode", "") in ESTIMATES
        sources[part] = "estimated" if is_estimate else "measured"
        # There is no argument for it (3.3.2): its CPU and RAM take the process that they are made in.
        if pid and hasattr(hardware, "_pid"):
            hardware._pid, hardware._process = pid, psutil.Process(pid)
    return sources


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Undo what CodeCarbon does to signals when it takes its lock (allow_multiple_runs=False)."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in kept.items():
            signal.signal(number, handler)


def _file(run: TrackedRun) -> Path:
    return Path(run.ids.get("file", run.local / FILE))


class _Row(NamedTuple):
    """The amounts up to a moment; `is_old` if a meter of runcast 0.1 wrote them."""

    time: float
    amounts: dict[str, float]
    is_old: bool


def _history(run: TrackedRun) -> list[_Row]:
    """Read the rows of this run, which may have had several meters: each goes on from the amounts of the one before."""
    history: list[_Row] = []
    before: dict[str, float] = {}
    meter = ""
    for row in csv.DictReader(_file(run).read_text().splitlines() if _file(run).exists() else ()):
        if (
            row["run_id"] in run.ids and None not in row and None not in row.values()
        ):  # a torn row has too few cells, the one after it too many
            if row["run_id"] != meter:
                meter, before = row["run_id"], history[-1].amounts if history else {}
            sources = run.ids[meter].split()
            amounts = _add(before, _amounts(row, sources))
            history.append(
                _Row(datetime.fromisoformat(row["timestamp"]).timestamp(), amounts, is_old=COVERS not in sources)
            )
    return history


def _amounts(row: Mapping[str, str], sources: list[str]) -> dict[str, float]:
    energy = {part: float(row[f"{part}_energy"]) for part in ("cpu", "gpu", "ram")}
    amounts = {
        "measured_s": float(row["duration"]),
        "energy_kwh": float(row["energy_consumed"]),
        "energy_measured_kwh": sum((energy[part] for part in energy if part in sources), 0.0),
        **{f"{part}_energy_kwh": value for part, value in energy.items()},
    }
    if "placed" not in sources:
        return amounts | {"emissions_kg_world_average": float(row["emissions"])}
    return (
        amounts
        if (row["latitude"], row["longitude"]) == QUEBEC
        else amounts | {"emissions_kg": float(row["emissions"])}
    )


def _add(before: Mapping[str, float], amounts: Mapping[str, float]) -> dict[str, float]:
    return {**before, **{name: before.get(name, 0.0) + amount for name, amount in amounts.items()}}


def _metrics(amounts: Mapping[str, float], *, is_old: bool = False) -> dict[str, Number]:
    power_w = amounts["energy_kwh"] * 3.6e6 / amounts["measured_s"]
    names = {"measured_s": "duration_s"} if is_old else {}
    return {f"codecarbon/{names.get(name, name)}": value for name, value in [*amounts.items(), ("power_w", power_w)]}
