"""The stage of one check: a real run and journal, the real delivery loop, and a comparison with what is read back."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from runcast.delivery.loop import Delivery
from runcast.delivery.recovery import identity
from runcast.delivery.sending.refusals import count_refused
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.journal.records import Record, encode
from runcast.journal.state import DeliveryState
from runcast.run.init import init
from runcast.run.run import Run
from runcast.values.params import same_param
from runcast.values.points import Point
from runcast.values.scalars import Number

Logged: TypeAlias = tuple[str, Number, int]
ForeignRun: TypeAlias = Callable[[Path], AbstractContextManager[Callable[[], bool]]]
SHOWN = 8


class Skipped(Exception):
    """The signal that a check does not apply; the message says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of the checks; `environment` is that of this process before an SDK could change it."""

    make: Callable[[], Tracker]
    folder: Path
    options: Mapping[str, Any]
    foreign: ForeignRun | None
    environment: Mapping[str, str]


class Stage:
    """The runs of one check, from start to reading; `tracker` is a spare instance to inspect."""

    def __init__(self, subject: Subject, check: str) -> None:
        self.subject, self.check, self.tracker = subject, check, subject.make()
        self.notes: list[str] = []

    def start(self, part: str = "", **arguments: Any) -> Run:
        """Start a run that is not delivered yet; *part* distinguishes the runs of one check."""
        word = "-".join(filter(None, (self.check.replace("_", "-"), part)))
        self.directory = RunDirectory(self.subject.folder / word)
        return init(
            project="runcast-testing",
            id=word,
            dir=self.subject.folder,
            report_to="none",
            delivery="later",
            snapshot=(),
            **{"name": f"check {word}", "offline": True, **arguments},
        )

    def append(self, record: Record) -> None:
        """Write a raw record, bypassing the conversions of `Run`."""
        journal = Journal(self.directory.journal)
        journal.append(encode(record) + b"\n")
        journal.close()

    def tracked(self) -> TrackedRun:
        """Describe the run to the tracker, from its folder."""
        choice = TrackerChoice(tracker="", online=False, reason="in a check", measures=self.tracker.measures)
        run = tracked_run(self.directory, self.directory.load(), self.tracker.name, choice, self.subject.options)
        run.variables = self.tracker.variables
        return run

    def deliver(self, meanwhile: Callable[[], object] | None = None, tracker: Tracker | None = None) -> DeliveryState:
        """Deliver the run, and require that the delivery finishes.

        Args:
            meanwhile: Called when the tracker has everything and is still open; it must finish the run.
            tracker: Used instead of a fresh one.
        """
        tracker = tracker or self.subject.make()
        over = threading.Event()

        def wait(timeout_s: float) -> None:
            if not over.is_set() and meanwhile is not None:
                over.set()
                meanwhile()
            else:
                time.sleep(timeout_s)

        def alive() -> bool:
            return meanwhile is not None and not over.is_set()

        delivery = Delivery(
            self.directory, tracker.name, tracker, self.tracked(), alive=alive, wait=wait, follow=meanwhile is not None
        )
        state = delivery.run()
        trace = f"\n{state.traceback}" if state.traceback else ""
        expect(
            state.phase == "finished",
            f"the delivery ended as {state.phase!r}: {state.error or 'without an error'}{trace}",
        )
        self.notes += [f"counted as refused: {count} × {reason}" for reason, count in state.refused.items()]
        return state

    def read(self) -> Reading:
        """Read the run back with a fresh tracker, as `runcast verify` does."""
        return self.subject.make().read(self.tracked())

    def log_and_deliver(self, logged: Iterable[Logged]) -> DeliveryState:
        """Log one metric after the other, finish, and deliver."""
        with self.start() as run:
            for key, value, step in logged:
                run.log({key: value}, step=step)
        return self.deliver()

    def expect_points(self, logged: Iterable[Logged], state: DeliveryState | None = None) -> None:
        """Require that exactly these points are read back, under distinct names, of a tracker that keeps points.

        With the *state* of the delivery, points that it counts as refused may be missing.
        """
        if "metrics" not in self.tracker.supports:
            return
        logged = list(logged)
        self.expect_names((key for key, _, _ in logged), self.tracker.names.encode)
        precision, names = self.tracker.precision, {self.tracker.names.encode(key): key for key, _, _ in logged}
        expected = Counter(identity(Point(*point), precision) for point in logged)
        seen = Counter(
            identity(point._replace(key=names.get(point.key, point.key)), precision) for point in self.read().points
        )
        lacking, extra = list((expected - seen).elements()), list((seen - expected).elements())
        refused = count_refused(state, "point") if state else 0
        refusals = f", of which {refused} are counted as refused" if refused else ""
        problems = []
        if len(lacking) != refused:
            problems.append(f"{len(lacking)} of {len(logged)} points are missing{refusals}: {_show(lacking)}")
        if extra:
            problems.append(f"{len(extra)} points are read that were not logged, or not as often: {_show(extra)}")
        expect(not problems, "; ".join(problems))

    def expect_names(self, keys: Iterable[str], rename: Callable[[str], str]) -> None:
        """Require that distinct keys get distinct names."""
        owners: dict[str, str] = {}
        for key in keys:
            other = owners.setdefault(rename(key), key)
            expect(other == key, f"the keys {_short(other)} and {_short(key)} both become {_short(rename(key))}")

    def expect_params(self, expected: Mapping[str, Any], reading: Reading) -> None:
        """Require that these params are read back, as `expect_values` does."""
        self.expect_values("params", expected, reading.params, self.tracker.param_names.encode)

    def expect_values(
        self, what: str, expected: Mapping[str, Any], found: Mapping[str, Any] | None, rename: Callable[[str], str]
    ) -> None:
        """Require that these values are read back, unchanged or as text; None (no reader for them) passes."""
        if found is None:
            self.notes.append(f"{what} cannot be read back")
            return
        self.expect_names(expected, rename)
        wrong = [
            key
            for key, value in expected.items()
            if rename(key) not in found or not same_param(value, found[rename(key)])
        ]
        some = "; ".join(
            f"{_short(key)} = {_short(expected[key])} is read as {_short(found.get(rename(key), 'nothing'))}"
            for key in wrong[:SHOWN]
        )
        expect(not wrong, f"{len(wrong)} of {len(expected)} {what} differ: {some}")

    def expect_names_found(self, what: str, expected: set[Any], found: Collection[Any] | None) -> None:
        """Require that these tags, artifacts or media are read back once; None (no reader for them) passes."""
        if found is None:
            self.notes.append(f"{what} cannot be read back")
            return
        counts = Counter(found)
        expect(expected <= set(counts), f"{what} are missing: {_show(sorted(expected - set(counts), key=str))}")
        twice = [one for one in expected if counts[one] > 1]
        expect(not twice, f"{what} are there more than once: {_show(sorted(twice, key=str))}")


def expect(condition: bool, message: str) -> None:
    """Fail the check with a message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def _show(items: Sequence[Any]) -> str:
    return ", ".join(_short(item) for item in items[:SHOWN]) + (
        f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}…{text[-12:]} ({len(text)} characters)"
