"""The comparison of a tracker with the journal, and its verdict.

Runs in the process that reads the tracker (`reading.py`), which alone imports its SDK.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from runcast.delivery.addresses import open_command, place
from runcast.delivery.liveness import RunStatus, ended_at, last_status, run_status
from runcast.delivery.metering import coverage_now
from runcast.delivery.recovery import canonical
from runcast.delivery.sending.naming import MediaNames, ServiceNames
from runcast.delivery.sending.refusals import count_refused, described, refusals
from runcast.history.point_comparison import EXAMPLES, compare_points
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Artifact, Media, Metrics, Params, Summary, Tags
from runcast.journal.state import EVERYTHING, DeliveryState, load_state
from runcast.redaction.console import counted
from runcast.values.params import same_param
from runcast.values.scalars import NON_FINITE, Number, ParamValue

LEFT = "it had no part in the run's last session"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of one kind: logged, found in the tracker, and refused by it.

    `wrong` names a few that the tracker lacks or holds with another value.
    """

    logged: int
    found: int
    refused: int = 0
    wrong: list[str] = []

    @property
    def is_right(self) -> bool:
        """Return whether everything is there or was refused; refusals are reported separately."""
        return self.found + self.refused >= self.logged


class Verdict(msgspec.Struct, kw_only=True):
    """The verdict on one tracker's copy of the run.

    Of the `logged` points, `found` are there, `waiting` are not yet delivered, `refused` were refused and counted, and
    `missing` were delivered but are not there. `extra` points should not be there; `twice` of them are duplicates.
    `late` points have another time than in the training, and `times` names the run's own wrong times. `examples` names
    a few missing and extra points. `refused_for` counts unsupported and refused values, by kind and reason, and
    `refusals` describes the refused ones. `waiting_records` counts the other records that are not yet delivered.
    `damaged` counts truncated or damaged lines of the journal. `note` is a remark; `error` says why the tracker could
    not be read.
    """

    name: str
    online: bool = False
    where: str | None = None
    open_command: str | None = None
    precision: str = "float64"
    logged: int = 0
    found: int = 0
    waiting: int = 0
    waiting_records: int = 0
    refused: int = 0
    missing: int = 0
    extra: int = 0
    twice: int = 0
    late: int = 0
    times: list[str] = []
    examples: list[str] = []
    others: dict[str, Tally] = {}
    refused_for: dict[str, int] = {}
    refusals: list[str] = []
    renamed: int = 0
    damaged: int = 0
    status: str | None = None
    status_logged: RunStatus | None = None
    note: str | None = None
    error: str | None = None

    @property
    def is_right(self) -> bool:
        """Return whether the tracker has everything exactly once, with the right status."""
        return not self.problems()

    def problems(self) -> list[str]:
        """Return the problems, the worst first, each with the next step if there is one."""
        if self.error:
            return [self.error]
        found = [f"it refused {refusal}" for refusal in self.refusals]
        if self.missing:
            found.append(
                f"{counted(self.missing, 'point is', 'points are')} missing: {', '.join(self.examples)}. "
                f"Send them again with: runcast sync --mend"
            )
        if self.extra:
            found.append(
                f"{counted(self.extra, 'extra point')} ({self.twice:,} came twice): {', '.join(self.examples)}"
            )
        if self.late:
            found.append(f"{counted(self.late, 'point has', 'points have')} another time than in the training")
        found += self.times
        found += [
            f"{kind}: {tally.found:,} of {tally.logged:,} are right, not {', '.join(tally.wrong)}"
            for kind, tally in self.others.items()
            if not tally.is_right
        ]
        if self.waiting or self.waiting_records:
            found.append(
                f"{counted(self.waiting, 'point')} and {counted(self.waiting_records, 'other record')} "
                f"wait to be delivered: runcast sync"
            )
        elif self.status is not None and self.status_logged not in (self.status, "unknown"):
            found.append(f"its status is {self.status}, but the run is {self.status_logged}: runcast sync")
        return found


def compare(directory: RunDirectory, file: RunFile, name: str, tracker: Tracker, tracked: TrackedRun) -> Verdict:
    """Read one tracker and compare it with the journal; a meter is compared with its own measurements."""
    tracked.variables = tracker.variables
    reading, choice = tracker.read(tracked), file.trackers[name]
    state = load_state(directory.tracker(name)) or DeliveryState()
    where = place(directory, name, state)
    verdict = Verdict(
        name=name,
        online=choice.online,
        where=where,
        open_command=open_command(directory, name, where),
        precision=tracker.precision,
        refused_for=state.refused,
        refusals=[described(state, reason) for reason in refusals(state)],
        renamed=len(state.renamed),
        status=reading.status,
        status_logged="unknown" if choice.left else run_status(directory, file),
        note=LEFT if choice.left else None,
    )
    if state.phase == "unknown":
        verdict.note = state.error
    if tracker.measures and not choice.left:
        is_running = verdict.status_logged == "running"
        verdict.note = coverage_now(directory, name, state, is_running=is_running)
    if reading.unreadable is not None:
        verdict.note = "; ".join(filter(None, (reading.unreadable, verdict.note)))
        return verdict

    names = ServiceNames(tracker, {})
    cursor = EVERYTHING if state.phase == "unknown" else state.cursor
    expected = _Expected(tracker, names, directory)
    reader = JournalReader(directory.journal)
    for record, offset in reader.with_ends():
        if isinstance(record, Metrics) or (choice.left and offset > cursor):
            continue
        if offset > cursor and not tracker.measures:
            verdict.waiting_records += 1
        else:
            expected.add(record, offset)
    counts = compare_points(
        directory.journal, reading.points, tracker, names.metric, cursor=cursor, up_to_cursor=choice.left
    )
    verdict.logged, verdict.found, verdict.waiting = counts.logged, counts.found, counts.waiting
    verdict.refused = min(counts.lacking, count_refused(state, "point"))
    verdict.missing = counts.lacking - verdict.refused
    if tracked.is_joined and counts.extra:
        verdict.note = f"{counted(counts.extra, 'point')} in this joined run not from runcast"
    else:
        verdict.extra, verdict.twice, verdict.late = counts.extra, counts.twice, counts.late
    if not tracked.is_joined:  # otherwise its times are its owner's
        verdict.times = _wrong_times(directory, file, reading, tracker)
    shown = (counts.examples_lacking if verdict.missing else []) + (counts.examples_extra if verdict.extra else [])
    verdict.examples = shown[:EXAMPLES]
    verdict.others = expected.tallies(reading, state)
    verdict.damaged = reader.damaged + int(reader.is_cut and verdict.status_logged != "running")
    return verdict


def _wrong_times(directory: RunDirectory, file: RunFile, reading: Reading, tracker: Tracker) -> list[str]:
    """Return which of a run's times differ from those of the training."""
    times = [("start", reading.started_at, file.created)]
    if last_status(directory) is not None and reading.status not in (None, "running"):
        times.append(("end", reading.ended_at, ended_at(directory)))
    return [
        f"its {what} is {found - logged:+,.1f} s off that of the training"
        for what, found, logged in times
        if found is not None and abs(found - logged) > tracker.time_resolution_s
    ]


class _Expected:
    """The expected content besides points, under the service's names; the last value of a key wins."""

    def __init__(self, tracker: Tracker, names: ServiceNames, directory: RunDirectory) -> None:
        self.tracker, self.names, self.media_names = tracker, names, MediaNames(names, directory.journal)
        self.params: dict[str, ParamValue] = {}
        self.summary: dict[str, Number | str | bool] = {}
        self.tags: set[str] = set()
        self.artifacts: set[str] = set()
        self.media: set[tuple[str, int]] = set()

    def add(self, record: AnyRecord, offset: int) -> None:
        """Add a record to the expected content."""
        if isinstance(record, Params):
            self.params.update(self.names.params(record.values))
        elif isinstance(record, Summary):
            self.summary.update(self.names.summary(record.values))
        elif isinstance(record, Tags):
            self.tags.update(self.names.tags(record.tags))
        elif isinstance(record, Artifact):
            self.artifacts.add(self.names.artifact(record.name))
        elif isinstance(record, Media):
            self.media.add((self.media_names.name(record, offset), record.step))

    def tallies(self, reading: Reading, state: DeliveryState) -> dict[str, Tally]:
        """Compare with the tracker's content; kinds that it does not have, or that were not logged, are left out."""
        tallies = {
            "params": _tally(self.params, reading.params, _same_text, count_refused(state, "params")),
            "summary": _tally(
                self.summary,
                reading.summary,
                lambda a, b: _same_value(a, b, self.tracker.precision),
                count_refused(state, "summary"),
            ),
            "tags": _tally(dict.fromkeys(self.tags), _keys(reading.tags), _same_text, count_refused(state, "tags")),
            "artifacts": _tally(
                dict.fromkeys(self.artifacts), _keys(reading.artifacts), _same_text, count_refused(state, "artifact")
            ),
            "media": _tally(
                dict.fromkeys(self.media, 1), _counts(reading.media), _same_text, count_refused(state, "media")
            ),
        }
        return {kind: tally for kind, tally in tallies.items() if tally is not None and kind in self.tracker.supports}


def _tally(
    expected: Mapping[Any, Any], found: Mapping[Any, Any] | None, same: Callable[[Any, Any], bool], refused: int
) -> Tally | None:
    if found is None or not expected:
        return None
    wrong = [key for key, value in expected.items() if key not in found or not same(value, found[key])]
    names = [(key if isinstance(key, str) else f"{key[0]} at step {key[1]}")[:80] for key in wrong[:EXAMPLES]]
    return Tally(logged=len(expected), found=len(expected) - len(wrong), refused=min(refused, len(wrong)), wrong=names)


def _keys(found: Iterable[Any] | None) -> dict[Any, None] | None:
    return None if found is None else dict.fromkeys(found)


def _counts(found: Iterable[Any] | None) -> Mapping[Any, int] | None:
    return None if found is None else Counter(found)


def _same_text(logged: Any, found: Any) -> bool:
    """Compare values; a service may keep a number as its text, but not a text as a number: "007" is not 7."""
    is_word = isinstance(logged, str) and logged in NON_FINITE  # stands for the number
    return (is_word or not isinstance(logged, str) or isinstance(found, str)) and same_param(logged, found)


def _same_value(logged: Any, found: Any, precision: str) -> bool:
    numbers = (int, float)
    if isinstance(logged, numbers) and isinstance(found, numbers):
        return canonical(logged, precision) == canonical(found, precision)
    return _same_text(logged, found)
