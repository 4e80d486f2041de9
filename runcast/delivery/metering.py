"""Measurements of a meter as records of the journal, named by how much of the training they cover.

They are points of a curve while the run lasts, and the totals at its end are summary values.

A meter reports the seconds that it covered as `<name>/measured_s`. The journal adds `<name>/training_s`. While less
than half of the training is covered, the other values are `<name>/partial/...`, so that a part never passes for the
whole.
"""

import time
from collections.abc import Mapping

from runcast.integrations.contract import Reading
from runcast.journal.coverage import MEASURED, PARTIAL, TRAINED, Coverage
from runcast.journal.file import append_lines
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Metrics, Record, Summary, encode_line, meter_of
from runcast.journal.state import DeliveryState
from runcast.values.scalars import Number, encodable


class Metering:
    """The measurements of one delivery, on their way into the journal.

    Args:
        directory: The run's folder.
        meter: The tracker's name.
        state: The delivery's state, which stores the coverage.
        covers: Whether it matters how much of the training is covered.
    """

    def __init__(self, directory: RunDirectory, meter: str, state: DeliveryState, *, covers: bool) -> None:
        self._directory, self._meter, self._state = directory, meter, state
        self._measured_at = time.time()
        self._is_silent = not covers

    def begin(self) -> None:
        """Note that the meter measures from now on."""
        self._measured_at = time.time()

    def see(self, record: AnyRecord) -> None:
        """Follow the training through its journal."""
        if self._state.coverage is None and not self._is_silent:
            self._state.coverage = coverage_so_far(self._directory, self._meter, self._state.cursor)
        if self._state.coverage is not None:
            self._state.coverage.see(record, self._meter)

    def end(self, *, was_seen: bool) -> None:
        """Note that the training has disappeared: just now if that *was_seen*, else at its last record."""
        if self._state.coverage is not None:
            self._state.coverage.end(time.time() if was_seen else self._state.coverage.seen)

    def is_due(self, *, final: bool) -> bool:
        """Return whether to read the meter: once its measurement may represent the run, or the run is over."""
        coverage, now = self._state.coverage, time.time()
        return final or coverage is None or coverage.will_be_enough(now - self._measured_at, now)

    def write(self, measured: Mapping[str, Number], moment: float, *, final: bool) -> None:
        """Write a measurement into the journal, from where it reaches every other tracker."""
        self._measured_at = moment
        if f"{self._meter}/{MEASURED}" not in measured:  # this meter does not report its coverage
            self._is_silent, self._state.coverage = True, None
        covered = _cover(measured, self._meter, self._state.coverage, time.time())
        values = {key: encodable(value) for key, value in covered.items()}
        record: Record = Metrics(time=moment, step=self._state.step, values=values, by=self._meter)
        if final:
            record = Summary(time=moment, values=dict(values), by=self._meter)
        append_lines(self._directory.journal, encode_line(record))

    def recover(self, reading: Reading, *, is_over: bool) -> int:
        """Write what an earlier, killed process had measured and not written; return the number of values."""
        rows = _unwritten(reading, self._directory, self._meter)
        for number, (moment, measured) in enumerate(rows, 1):
            self.write(measured, moment, final=is_over and number == len(rows))
        return sum(len(measured) for _, measured in rows)


def _cover(measured: Mapping[str, Number], meter: str, coverage: Coverage | None, now: float) -> dict[str, Number]:
    """Return a measurement under the journal's names; unchanged if its coverage is unknown."""
    if coverage is None:
        return dict(measured)
    reading_s = measured[f"{meter}/{MEASURED}"]
    coverage.measure(float(reading_s), now)
    if not coverage.is_enough(now):
        others = {key: value for key, value in measured.items() if key != f"{meter}/{MEASURED}"}
        measured = {key.replace("/", f"/{PARTIAL}", 1): value for key, value in others.items()}
    return {**measured, f"{meter}/{MEASURED}": reading_s, f"{meter}/{TRAINED}": coverage.lasted_s(now)}


def uncover(key: str, meter: str) -> str | None:
    """Return the meter's own name for the journal's *key*; None for values that only the journal has."""
    if key == f"{meter}/{TRAINED}":
        return None
    return key.replace(f"{meter}/{PARTIAL}", f"{meter}/", 1)


def coverage_so_far(directory: RunDirectory, meter: str, cursor: int) -> Coverage:
    """Follow the training up to an offset in the journal, for a delivery without stored coverage."""
    coverage = Coverage()
    for record, offset in JournalReader(directory.journal).with_ends():
        if offset > cursor:
            break
        coverage.see(record, meter)
    return coverage


def coverage_now(directory: RunDirectory, meter: str, state: DeliveryState | None, *, is_running: bool) -> str | None:
    """Return how much of a training a meter has measured ("measured 42 of 45 s"); None if the meter does not say."""
    if state is not None and state.cursor and state.coverage is None:
        return None  # of a version that stored no coverage, or a meter that reports none
    coverage = (state and state.coverage) or Coverage()
    for record in JournalReader(directory.journal, state.cursor if state else 0):
        coverage.see(record, meter)
    coverage.end(time.time() if is_running else coverage.seen)
    return str(coverage)


def _unwritten(reading: Reading, directory: RunDirectory, meter: str) -> list[tuple[float, dict[str, Number]]]:
    """List the measurements that a meter has stored and a killed process did not write to the journal."""
    written = sum(meter_of(record) == meter for record in JournalReader(directory.journal))
    rows: dict[int, tuple[float, dict[str, Number]]] = {}
    for key, value, row, moment in reading.points:
        rows.setdefault(row, (moment, {}))[1][key] = value
    return [rows[row] for row in sorted(rows)][written:]
