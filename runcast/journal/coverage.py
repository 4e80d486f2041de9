"""The share of a training that a meter has measured."""

import msgspec

from runcast.journal.records import AnyRecord, Finish, Start, meter_of

MEASURED, TRAINED, PARTIAL = "measured_s", "training_s", "partial/"
ENOUGH = 0.5  # share of the training; a measurement of less is never presented as the run's


class Coverage(msgspec.Struct):
    """The seconds that a training lasted, over all of its sessions, and how many of them a meter has measured.

    `reading_s` is the meter's own count, which may run on for a moment after the end. `began` is the start of the
    current session (0: there is none), `seen` the time of its last record.
    """

    trained_s: float = 0.0
    measured_s: float = 0.0
    reading_s: float = 0.0
    began: float = 0.0
    seen: float = 0.0
    ended: float = 0.0

    def see(self, record: AnyRecord, meter: str) -> None:
        """Follow the sessions of the training through the journal, ignoring the meter's own records."""
        if isinstance(record, Start):
            self.end(self.seen)
            self.began = self.seen = record.time
        elif isinstance(record, Finish):
            self.end(record.time)
        elif self.began and meter_of(record) != meter:
            self.seen = max(self.seen, record.time)

    def end(self, time: float) -> None:
        """End the current session, if there is one, at *time*."""
        if self.began:
            self.trained_s += max(0.0, time - self.began)
            self.began, self.ended = 0.0, time

    def lasted_s(self, now: float) -> float:
        """Return how long the training has lasted."""
        return self.trained_s + (max(0.0, now - self.began) if self.began else 0.0)

    def measure(self, reading_s: float, now: float) -> None:
        """Take over the meter's count *now*, without what it counted after the end of the training."""
        behind_s = 0.0 if self.began else max(0.0, now - self.ended)
        self.measured_s += max(0.0, reading_s - self.reading_s - behind_s)
        self.measured_s = min(self.measured_s, self.lasted_s(now))
        self.reading_s = reading_s

    def is_enough(self, now: float) -> bool:
        """Return whether the measurement may represent the whole run."""
        return self.will_be_enough(0.0, now)

    def will_be_enough(self, more_s: float, now: float) -> bool:
        """Return whether the measurement, plus *more_s* since, may represent the whole run."""
        return self.measured_s + more_s >= ENOUGH * self.lasted_s(now)

    def __str__(self) -> str:
        digits = 0 if self.trained_s >= 10 else 1
        return f"measured {self.measured_s:.{digits}f} of {self.trained_s:.{digits}f} s"
