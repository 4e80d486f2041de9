"""A run, as the training script holds it."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast, get_args

import msgspec

from runcast.core.errors import OptionError
from runcast.core.foreign import attempt, described
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.records import Finish, Status
from runcast.journal.state import Carrier, Statistics, tracker_statistics
from runcast.journal.status import status_of
from runcast.redaction.console import say
from runcast.redaction.tree import redact, redact_text
from runcast.run.alerts.titles import Pauses
from runcast.run.arrivals import Copies
from runcast.run.identity import Identity, identity_of
from runcast.run.options import SNAPSHOT, USUAL_PARTS, finish_timeout_s
from runcast.run.recording import Recorder
from runcast.run.sessions import ends_run, is_superseded
from runcast.run.status import find_again, report_coverage, report_end, report_orphan, report_status
from runcast.values.config import plain
from runcast.values.scalars import without_surrogates

if TYPE_CHECKING:
    from runcast.run.snapshot.collection import Collector


class Run(Recorder):
    """One training, written to its journal and delivered from there to every selected tracker.

    Create one with `runcast.init`. It may be used from any thread. Failures of a tracker never reach it, except under
    `strict`: then `log` raises if a tracker has failed for good, which is checked once a second. As a context manager
    it is finished on exit: as "failed" with the traceback after an exception, as "killed" after an interrupt.
    """

    def __init__(
        self,
        file: RunFile,
        directory: RunDirectory,
        journal: Journal | None,
        carrier: Carrier | None,
        *,
        strict: bool = False,
    ) -> None:
        super().__init__(file, directory, journal, carrier, strict=strict)
        self._saved_config = msgspec.json.encode(self.config)
        self.project = file.project
        self.unrecorded: OSError | None = None  # why nothing of it is kept, if there is no place to write to
        # Tells the status if the interpreter exits before `finish`; for trainers without an event for it.
        self.ending: Callable[[], tuple[Status, str | None]] | None = None
        self.on_finish: Callable[[], None] | None = None
        self._reopen: Callable[[], None] | None = None  # begins another session of it here
        self._collector: Collector | None = None
        self._pauses = Pauses()
        self._is_delivered = carrier is None and all(choice.left for choice in file.trackers.values())

    @property
    def name(self) -> str:
        """The run's name for people. Setting it renames the run; a tracker that has opened it keeps the old name."""
        return self._file.name

    @name.setter
    def name(self, name: str | None) -> None:
        self._guarded("name", self._rename, name)

    def _rename(self, name: Any) -> None:
        text = "" if name is None else without_surrogates(str(name))
        old, self._file.name = self._file.name, redact_text(text or self._file.name)
        if self._file.name != old and self._journal is not None and os.getpid() == self._pid:
            attempt(lambda: self._rewrite("name"), self._report_failure)
            say(
                f"the run {old} is now {self._file.name}; a tracker that has opened it keeps the old name, so rather "
                "give it to init(name=…)"
            )

    def log_samples(self, rows: Any, step: int | None = None, key: str = "samples") -> None:
        """Append rows of an LLM or RL run at a step: prompts, completions, rewards, messages, whatever there is.

        They are a table at that step. Its first column is the step, so that the tables of several steps can be joined.

        Args:
            rows: A list of mappings, one a row, whose keys may differ; a mapping of columns to lists or arrays; a data
                frame of pandas, Polars or PyArrow; a `datasets.Dataset`; a `runcast.Table`; or one row as a mapping. A
                cell that is a list, a mapping or an array becomes JSON. Rows without names are counted and reported.
            step: As in `log`.
            key: Their name in the trackers.
        """
        from runcast.values.media.samples import SampleTable  # rarely needed, and start-up counts

        self.log({attempt(lambda: str(key), lambda _: "samples"): SampleTable(rows)}, step)

    def alert(self, title: str, text: str = "", level: str = "info") -> None:
        """Tell people what they should know now: in each tracker, and by the webhook in RUNCAST_WEBHOOK.

        A tracker without alerts shows it as a text under the key `alerts`, and as a tag such as `alert-error`. At most
        one of a title is sent a minute; the next one says how many were held back. It does not wait, and never raises.
        In a job of several ranks, only rank 0's count.

        Args:
            title: One line; it also tells one kind of alert from another.
            text: The details.
            level: "info", "warn" (or "warning"), or "error".
        """
        self._guarded("alert", self._alert, title, text, level)

    def _alert(self, title: Any, text: Any, level: Any) -> None:
        from runcast.run.alerts.sending import send  # rarely needed, and start-up counts

        send(self, title, text, level)

    def _take_snapshot(self, parts: Sequence[str]) -> None:
        """Record the commit and the hardware, and begin to collect what takes longer (`init`'s `snapshot`)."""
        told: dict[str, Any] = {}
        if (source := self._file.source) is not None:
            told["git"] = {name: value for name, value in msgspec.structs.asdict(source).items() if value is not None}
        if "hardware" in parts:
            from runcast.run.snapshot.hardware import describe_hardware

            told["hardware"] = attempt(describe_hardware, lambda _: {})
        if any(told.values()):
            self._log_params({SNAPSHOT: told})
        if not {*parts} <= {*USUAL_PARTS}:
            from runcast.run.snapshot.collection import Collector, record_found

            self._collector = Collector(parts, partial(record_found, self))

    def _check(self, now: float) -> None:
        super()._check(now)
        if self._reopen is not None and self._carrier is not None and is_superseded(self._carrier, self._file.session):
            ends_run(RunDirectory(self.dir), self._file.session, self._reopen)

    def identity(self) -> Identity | None:
        """Return the run's id, name and folder, and its ids and address in each tracker, as far as known.

        Return None in the ranks of a job that write nothing.
        """
        if self._journal is None and self.status is None:
            return None
        return identity_of(self._file, self.dir, self._carrier.states() if self._carrier else {})

    @property
    def urls(self) -> dict[str, str]:
        """Map each tracker that has opened the run to its web address or path."""
        states = self._carrier.states() if self._carrier else {}
        return {name: state.url for name, state in states.items() if state.url}

    def statistics(self) -> Statistics:
        """Return counts: logged, dropped, and per tracker delivered, waiting and refused."""
        states = self._carrier.states() if self._carrier else {}
        journal = RunDirectory(self.dir).journal
        trackers = {name: tracker_statistics(name, state, journal) for name, state in states.items()}
        lost = self._journal.lost_records if self._journal else 0
        return Statistics(logged=self._logged, dropped=dict(self._dropped), lost=lost, trackers=trackers)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every tracker has everything logged so far; return whether it has.

        A refused tracker is not waited for, and makes the result False.
        """
        if self._journal is None or self._carrier is None:
            return self._is_delivered
        deadline = time.monotonic() + timeout_s
        self._collect_copies(deadline)
        return self._carrier.flush(self._journal.size(), max(0.0, deadline - time.monotonic()))

    def finish(
        self,
        status: Status | int = "finished",
        timeout_s: float | None = None,
        error: str | None = None,
        *,
        exit_code: int | None = None,
    ) -> bool:
        """End the run and give the trackers time to receive the rest. Further calls do nothing.

        Args:
            status: "finished", "failed", "killed" or "crashed"; or an exit code, as W&B has it first.
            timeout_s: How long to wait, in seconds (default: RUNCAST_FINISH_TIMEOUT_S, else 60). Undelivered records
                stay in the journal, and the command that delivers them is printed.
            error: A traceback as text, for a run that failed.
            exit_code: As in W&B, instead of a status: 0 is "finished", any other "failed".

        Returns:
            Whether every tracker has all records and has closed the run.

        Raises:
            OptionError: There is no such status; the run stays open.
        """
        code = status if exit_code is None and isinstance(status, int) else exit_code
        if code is not None:
            status = "failed" if code else "finished"
        if status not in get_args(Status):
            raise OptionError(f"status={status!r} is unknown. Valid values are: {', '.join(get_args(Status))}.")
        wait_s = finish_timeout_s(timeout_s)
        with self._lock:
            if self.status is not None:
                return self._is_delivered
            self.status = cast(Status, status)
        if self.on_finish is not None:
            self.on_finish()
        if self._journal is None or os.getpid() != self._pid:
            attempt(lambda: report_orphan(self.name, self._file, RunDirectory(self.dir)), self._report_failure)
            return self._is_delivered
        journal, delivered = self._journal, self._is_delivered
        deadline, is_there, is_last = time.monotonic() + wait_s, True, True
        try:
            try:
                attempt(lambda: self._collect_copies(deadline), self._report_failure)
                if self._collector is not None:
                    self._collector.wait(max(0.0, deadline - time.monotonic()))
                attempt(self._keep_config, self._report_failure)
            finally:  # even if that is interrupted, the run ends with this status
                text = attempt(lambda: redact_text(str(error or "")), described)
                is_last = ends_run(RunDirectory(self.dir), self._file.session, self._reopen)
                if is_last:
                    dropped = self._count_dropped()
                    self._append(Finish(time=time.time(), status=self.status, error=text or None, dropped=dropped))
                self._journal = None
            is_there = find_again(journal, RunDirectory(self.dir), self._file)
            if (carrier := self._carrier) is not None:
                end, left_s = journal.size(), max(0.0, deadline - time.monotonic()) if is_there and is_last else 0.0
                delivered = bool(attempt(lambda: carrier.finish(end, left_s), self._report_failure))
        finally:  # after an interrupt, too, the user learns what is still waiting
            self._is_delivered = journal.close() and delivered and is_there
            states = {} if self._carrier is None else self._carrier.states()
            report_coverage(states)
            report_end(self.dir, self._file.session, journal.lost_records, {} if delivered or not is_there else states)
            how = self.status if is_last else f"{self.status} here; another process continues it, or has ended it"
            report_status(f"run {self.name} is {how}", self.dir, self._dropped)
        return self._is_delivered

    def _keep_config(self) -> None:
        """Keep for the next session what the script has changed in the config, also in a list there."""
        self._file.config = redact(plain(self.config))
        if msgspec.json.encode(self._file.config) != self._saved_config:
            self._rewrite("config")

    def _rewrite(self, entry: str) -> None:
        """Keep what the script has set in run.json, unless that is a later session's by now."""
        if not (directory := RunDirectory(self.dir)).run_json.exists():
            return
        with directory.settled():
            file = directory.load()
            if file.session == self._file.session:
                setattr(file, entry, getattr(self._file, entry))
                directory.save(file)

    def after_fork(self) -> None:
        """Disarm the run in a forked child: it may log, but never finishes the run or touches the deliveries."""
        self._lock = threading.RLock()
        self._copies = Copies()
        self._collector = None
        if self._journal is not None:
            self._journal.after_fork()
        if self._carrier is not None:
            self._carrier.abandon()
            self._carrier = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status, text = status_of(error)
        self.finish(status, error=text)

    def __copy__(self) -> "Run":
        return self

    def __deepcopy__(self, memo: object) -> "Run":
        return self

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[RunFile, str]]:
        """Pickle as a run that accepts everything and writes nothing, which it reports once."""
        return _silent, (self._file, str(self.dir))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from runcast.run.notebook import as_html

        return as_html(self, self.status or "running")

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.id} in {self.dir}: {self.status or 'running'}>"


def _silent(file: RunFile, path: str) -> Run:
    run = Run(file, RunDirectory(Path(path)), None, None)
    run._is_copy = True
    return run
