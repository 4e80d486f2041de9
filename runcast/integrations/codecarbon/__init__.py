"""Measure the energy and the emissions of the training's machine with CodeCarbon, for every other tracker.

Needs: codecarbon 3.0 or newer, tested with 3.3.2. No root, no network, no lock.
Writes: `emissions.csv` in the run's own folder, a row for each measurement: every `measure_power_secs` (15) and at the
    end. All of `setup={"codecarbon": {...}}`, `CODECARBON_*` and `.codecarbon.config` keep their meaning. With
    `tracking_mode=process` it is the training process that is measured. The place is looked up over the network only
    with `online=True`; while it is not known, emissions are reckoned with the world's average and called so.
    `energy_measured_kwh` is the part of `energy_kwh` that comes from sensors; the rest is an estimate. `measured_s` is
    how many seconds of `training_s` were measured, over all sessions. While that is less than half, the amounts are
    called `codecarbon/partial/energy_kwh` and so on, as they are not those of the run. In the other trackers, the
    measurements are curves, and the last one of a session is summary values.
Drops: all that is logged, and the status: CodeCarbon holds nothing but its measurements.
Limits: nothing is measured between a kill and the restart, and after the training; of several machines, only that of
    the first rank. The seconds before the SDK is up are measured by what the counters and the load of the processors
    were before; in process mode, and with a sensor that has no such counter, they are missing, and counted as missing.
    That was tried with estimates only: there was neither RAPL nor a GPU. Where the look-up fails, CodeCarbon takes the
    place to be Quebec; emissions are not reported then. With `on_csv_write=update` the file keeps the last row only.
    Read in codecarbon 3.3.2 on 2026-11-30.
"""

import json
import logging
import time
from collections.abc import Mapping

from runcast.integrations.codecarbon.early import Early
from runcast.integrations.contract import Ending, Reading, TrackedRun, Tracker
from runcast.values.scalars import Number

EARLY = Early()  # before the import of CodeCarbon

from runcast.integrations.codecarbon import reader  # noqa: E402
from runcast.integrations.codecarbon.sdk import Meter  # noqa: E402
from runcast.journal.layout import RunDirectory  # noqa: E402

AMOUNTS = "amounts"  # so far, as this run's own state keeps them where CodeCarbon keeps no file
UNKEPT = "CodeCarbon keeps no file (save_to_file=False): what it measures is in the journal and in the other trackers"
WORLD = "estimated as the world's average (no country is known: set CODECARBON_COUNTRY_ISO_CODE)"
UNKNOWN = "CodeCarbon: emissions are not known, as the look-up of the place failed. Set CODECARBON_COUNTRY_ISO_CODE."

log = logging.getLogger(__name__)


class CodecarbonTracker(Tracker):
    """A meter. Each measurement is a row of the file, and what `measure` returns of it is what `read` returns."""

    name = "codecarbon"
    supports = frozenset()
    measures = True

    _run: TrackedRun
    _meter: Meter | None = None

    def setup(self, run: TrackedRun) -> None:
        run.url = str(reader.file_of(run))
        if not run.trains:
            log.warning("CodeCarbon measures nothing more of run %s: its training is over", run.id)
            return
        # Of a later run in this process, the early moment is none.
        meter = Meter(run, EARLY if EARLY.time >= run.time else None)
        if meter.file != run.local / reader.FILE:
            run.remember(file=str(meter.file))
        if not meter.keeps_file:
            log.warning("%s.", UNKEPT)
            run.remember(**{reader.FILE: UNKEPT})
        kept: dict[str, float] = json.loads(run.ids.get(AMOUNTS, "{}"))
        earlier = [kept, *(row.amounts for row in reader.history(run))]
        self._before = max(earlier, key=lambda amounts: amounts.get("measured_s", 0.0))
        measured = [part for part, source in meter.parts.items() if source == "measured"]
        self._sources = [*measured, *(["placed"] if meter.is_placed else []), reader.COVERS]
        run.remember(**{meter.id: " ".join(self._sources)})
        run.url = str(RunDirectory(run.directory).journal if reader.FILE in run.ids else reader.file_of(run))
        self._run, self._meter, self._due = run, meter, time.monotonic() + meter.every_s
        parts = ", ".join(f"{part} {source}" for part, source in meter.parts.items())
        log.warning("CodeCarbon: %s; emissions %s", parts, "of its place" if meter.is_placed else WORLD)

    def measure(self, final: bool) -> Mapping[str, Number]:
        if self._meter is None or not (final or time.monotonic() >= self._due):
            return {}
        meter, self._due = self._meter, time.monotonic() + self._meter.every_s
        if final:
            self._meter = None
        amounts = reader.amounts_of(meter.take(final=final), self._sources)
        if final and not any(name.startswith("emissions") for name in amounts):
            log.warning(UNKNOWN)
        amounts = reader.add(self._before, amounts)
        if reader.FILE in self._run.ids:
            self._run.remember(**{AMOUNTS: json.dumps(amounts)})
        return reader.metrics(amounts)

    def finish(self, ending: Ending) -> None:
        if self._meter is not None:
            self._meter.stop()
            self._meter = None

    def read(self, run: TrackedRun) -> Reading:
        return Reading(unreadable=run.ids.get(reader.FILE), points=reader.points(run))
