"""A run: what the training script holds. Everything it is told becomes a record in the journal, at once."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

from runcast.core.errors import OptionError, RuncastError
from runcast.core.foreign import attempt, described
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import shown
from runcast.journal.records import Dropped, Finish, Metrics, Params, Record, Status, Summary, Tags, encode, encode_line
from runcast.journal.snapshots import keep_artifact
from runcast.journal.state import Carrier, Statistics, tracker_statistics
from runcast.journal.status import status_of
from runcast.redaction.console import warn
from runcast.redaction.tree import SafeKeys, redact, redact_text
from runcast.run.arrivals import Copies
from runcast.run.earlier import EarlierParams
from runcast.run.identity import Identity, identity_of
from runcast.run.options import finish_timeout_s
from runcast.run.status import report_coverage, report_end
from runcast.values.numbers import DeviceValue, NotANumber, a, is_mapping, leaves, start_copy, to_number
from runcast.values.params import flatten, plain
from runcast.values.scalars import NonFinite, Number, encodable
from runcast.values.steps import FIRST, LAST, to_step

CHECK_S = 1.0
_PLAIN = frozenset((float, int))


class Run:
    """One training, written to its journal and from there cast to every selected tracker.

    Make one with `runcast.init`. It may be used from any thread. Nothing that a tracker does reaches it, unless
    `strict` was asked for: then a tracker that failed for good raises in a `log`, once it was looked for, which is once
    a second. Leaving it as a context manager finishes it: with "failed" and the traceback after an exception, "killed"
    after an interrupt.
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
        self.id, self.name, self.project = file.id, file.name, file.project
        self.config = file.config
        self.step, self.dir = 0, directory.path
        self.status: Status | None = None
        self.unrecorded: OSError | None = None  # why nothing of it is kept, where there is no place to write to
        # Says how the run ends if the interpreter exits before `finish`; for trainers without an event for that.
        self.ending: Callable[[], tuple[Status, str | None]] | None = None
        self.on_finish: Callable[[], None] | None = None
        self._file, self._journal, self._carrier = file, journal, carrier
        self._strict = strict
        self._failure: RuncastError | None = None
        self._counts_steps = True
        self._next_step = self._logged = self._artifacts = 0
        self._dropped: dict[str, int] = {}
        self._told: set[str] = set()
        self._keys = SafeKeys()
        self._copies = Copies()
        self._earlier = EarlierParams(directory.journal)
        self._lock = threading.Lock()
        self._check_from = time.time()
        self._check_at = self._check_from + CHECK_S
        self._pid = os.getpid()
        self._is_delivered = carrier is None and all(choice.left for choice in file.trackers.values())

    # What is logged

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Append metrics (and media) at a step; when it returns, they survive the death of this process.

        Args:
            values: Maps a key to a Python or NumPy number, a 0-d or 1-element tensor of any device and dtype, or a
                media object (`runcast.Image` …) or a list of them. Nested mappings are joined with '/'. A value that is
                none of these is counted and reported once per key.
            step: The optimizer step. Without one: the step of the last call that gave one, else 0, 1, 2 … by calls.
        """
        journal = self._journal
        if (journal is None or self._copies.waiting or self._failure) and (journal := self._log_unusual()) is None:
            return
        if type(step) is int and FIRST <= step <= LAST:
            self.step = step
            self._counts_steps = False
        else:
            step = self._settle_step(step)
        now = time.time()
        line = b""
        try:
            if type(values) is dict and _PLAIN.issuperset(map(type, values.values())) and self._keys.issuperset(values):
                total = sum(values.values())
                if total - total == 0:  # neither NaN nor infinite, nor is any of them
                    line = encode(Metrics(time=now, step=step, values=values)) + b"\n"
        except Exception:  # noqa: BLE001 - an odd key, a huge int, a dict that another thread changes: named by the slow way
            pass
        if line:
            journal.append(line)
            self._logged += len(values)
        elif type(values) is not dict or values:
            self._sparing("log", self._log_slowly, values, step, now)
        if not self._check_from <= now < self._check_at:
            self._check(now)

    def log_params(self, params: Mapping[str, Any] | Any) -> None:
        """Append configured values.

        Nested ones are joined with '/', secrets are redacted, the last value of a key holds.
        """
        self._sparing("params", self._log_params, params)

    def _log_params(self, params: Any) -> None:
        values = flatten(redact(plain(params)))
        if values:
            if self._file.session > 1:
                self._earlier.tell_changed(values)
            self._append(Params(time=time.time(), values=values))

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Append final values, which have no step: numbers, texts, bools."""
        self._sparing("summary", self._log_summary, values)

    def _log_summary(self, values: Any) -> None:
        kept: dict[str, Number | str | bool] = {}
        for key, value in flatten(redact(plain(values))).items():
            if value is None:
                self._drop(key, "is None. Leave it out")
            else:
                kept[key] = value
        if kept:
            self._append(Summary(time=time.time(), values=kept))

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None, type: str = "file") -> None:
        """Keep a file or a folder with the run, as it is now.

        Args:
            path: A file or a folder, which is copied. In a folder, links are followed, and runs of runcast are left
                out. What is missing or cannot be read is reported, not raised.
            name: What the trackers call it; by default the last part of the path. The same name again is a newer
                version.
            type: A word for what it is: "model", "dataset", "config", "file".
        """
        self._sparing("artifact", self._log_artifact, path, name, type)

    def _log_artifact(self, path: Any, name: Any, kind: Any) -> None:
        if not os.fspath(path):
            raise ValueError("its path is empty")
        self._keep(Path(path), str(name or Path(path).absolute().resolve().name), str(kind))

    def _keep(self, source: Path | bytes, name: str, kind: str) -> None:
        if self._journal is None:
            self._log_unusual()
            return
        with self._lock:
            self._artifacts += 1
            number = self._artifacts
        try:
            record, lacking = keep_artifact(self.dir, source, name, kind, number)
        except (OSError, ValueError) as error:
            warn(f"the artifact {name!r} was not kept: {error}. Training goes on; log it again when that is fixed.")
            self._drop(name, "is an artifact that could not be kept")
            return
        self._append(record)
        if lacking:
            self._drop(name, lacking)

    def add_tags(self, *tags: str) -> None:
        """Add tags to those that the run has."""
        texts: list[str] = []
        for tag in tags:
            self._sparing("tag", lambda tag=tag: texts.append(redact_text(str(tag))))
        if texts:
            self._append(Tags(time=time.time(), tags=texts))

    # What becomes of it

    def identity(self) -> Identity | None:
        """Return who this run is: its id, name and folder, and its ids and address in each tracker, as far as known.

        None in the ranks of a job that write nothing.
        """
        if self._journal is None and self.status is None:
            return None
        return identity_of(self._file, self.dir, self._carrier.states() if self._carrier else {})

    @property
    def urls(self) -> dict[str, str]:
        """Map each tracker that has opened the run to where a person sees it: a web address or a path."""
        states = self._carrier.states() if self._carrier else {}
        return {name: state.url for name, state in states.items() if state.url}

    def statistics(self) -> Statistics:
        """Count what was logged, what each tracker has, what waits and what was lost."""
        states = self._carrier.states() if self._carrier else {}
        trackers = {name: tracker_statistics(name, state, self.dir / "journal.jsonl") for name, state in states.items()}
        lost = self._journal.lost_records if self._journal else 0
        return Statistics(logged=self._logged, dropped=dict(self._dropped), lost=lost, trackers=trackers)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until every tracker has what was logged so far; return whether that came true in time.

        A tracker that was refused is not waited for, and makes the answer false.
        """
        if self._journal is None or self._carrier is None:
            return self._is_delivered
        deadline = time.monotonic() + timeout_s
        self._collect_copies(deadline)
        return self._carrier.flush(self._journal.size(), max(0.0, deadline - time.monotonic()))

    def finish(self, status: Status = "finished", timeout_s: float | None = None, error: str | None = None) -> bool:
        """End the run and give the trackers time to take what waits. Does nothing when called again.

        Args:
            status: "finished", "failed", "killed" or "crashed".
            timeout_s: How long to wait, in seconds (default: RUNCAST_FINISH_TIMEOUT_S, else 60). What is then still to
                be delivered stays in the journal, and the command that delivers it is printed.
            error: A traceback as text, for a run that failed.

        Returns:
            Whether every tracker has everything that was logged, and has closed the run.

        Raises:
            OptionError: There is no such status; the run goes on.
        """
        if status not in get_args(Status):
            raise OptionError(f"status={status!r} is unknown. Valid values are: {', '.join(get_args(Status))}.")
        wait_s = finish_timeout_s(timeout_s)
        with self._lock:
            if self.status is not None:
                return self._is_delivered
            self.status = status
        if self.on_finish is not None:
            self.on_finish()
        if self._journal is None or os.getpid() != self._pid:
            return self._is_delivered
        journal, carrier, delivered = self._journal, self._carrier, self._is_delivered
        deadline = time.monotonic() + wait_s
        try:
            try:
                attempt(lambda: self._collect_copies(deadline), self._doubt)
            finally:  # also where that is interrupted, the run ends as it was said
                text = attempt(lambda: redact_text(str(error or "")), described)
                self._append(Finish(time=time.time(), status=status, error=text or None))
                self._journal = None
            if carrier is not None:
                end, left_s = journal.size(), max(0.0, deadline - time.monotonic())
                delivered = bool(attempt(lambda: carrier.finish(end, left_s), self._doubt))
        finally:  # who is interrupted while waiting is told what waits, too
            self._is_delivered = journal.close() and delivered
            states = {} if carrier is None else carrier.states()
            report_coverage(states)
            report_end(self.dir, self._file.session, self._dropped, journal.lost_records, {} if delivered else states)
        return self._is_delivered

    # How it gets there

    def _settle_step(self, step: Any) -> int:
        if step is None:
            if self._counts_steps:
                self.step, self._next_step = self._next_step, self._next_step + 1
            return self.step
        number, complaint = to_step(step)
        if complaint:
            self._drop("step", complaint)
        if number is not None:
            self.step, self._counts_steps = number, False
        return self.step

    def _sparing(self, what: str, call: Callable[..., object], *arguments: Any) -> None:
        """Call something that runs a user's code; what that raises is counted and reported, and training goes on."""
        attempt(partial(call, *arguments), lambda error: self._drop(what, f"cannot be read ({described(error)})"))

    def _doubt(self, error: BaseException) -> None:
        """Tell of a mistake that is not the script's and must not be its trouble."""
        warn(f"the deliveries cannot be checked ({described(error)}). Nothing is lost: runcast sync {shown(self.dir)}")

    def _log_slowly(self, values: Any, step: int, now: float) -> None:
        if not is_mapping(values):
            self._drop("log", f"was given {a(type(values))}. Give it keys: run.log({{'loss': loss}})")
            return
        numbers: dict[str, Number | NonFinite] = {}
        copies: dict[str, DeviceValue] = {}
        for name, value in leaves(values):
            key = self._keys.checked(name)
            while key in numbers or key in copies:  # 1 and "1", say, or two secrets
                key += " (another)"
            try:
                if (copy := start_copy(value)) is not None:
                    copies[key] = copy
                else:
                    numbers[key] = encodable(to_number(value))
            except NotANumber as reason:
                if not self._log_media(key, value, step, now):
                    self._drop(key, str(reason))
        if numbers:
            self._append(Metrics(time=now, step=step, values=numbers))
            self._logged += len(numbers)
        if copies:
            self._copies.add(step, now, copies)

    def _log_media(self, key: str, value: Any, step: int, now: float) -> bool:
        from runcast.journal.media import media_in, save_media  # rarely needed, and start-up counts

        parts = media_in(value)
        for media in parts:
            try:
                self._append(save_media(self.dir, key, media, step, now))
            except NotANumber as reason:
                self._drop(key, str(reason))
        return bool(parts)

    def _collect_copies(self, wait_until: float | None = None) -> None:
        """Write the device values that have arrived; with a deadline, wait for the others."""
        for record, lost in self._copies.take_arrived(wait_until):
            if record.values:
                self._append(record)
                self._logged += len(record.values)
            for key, reason in lost.items():
                self._drop(key, reason)

    def _log_unusual(self) -> Journal | None:
        """Deal with a run that is finished, failed under `strict`, or has device values on their way.

        Return where to write; None if there is nothing to write to.
        """
        if self._failure is not None and self._strict:
            failure, self._failure = self._failure, None
            raise failure
        if self._copies.waiting:
            self._collect_copies()
        if self._journal is None and self.status is not None and self._pid == os.getpid():
            self._drop(
                "log",
                f"was called on the run {self.id}, which is {self.status}. Start another one, or this one again with "
                f"init(id={self.id!r}, resume='allow')",
            )
        return self._journal

    def _check(self, now: float) -> None:
        self._check_from, self._check_at = now, now + CHECK_S
        if self._carrier is not None:
            failure = attempt(self._carrier.check, self._doubt)
            if failure is not None and self._strict:
                self._failure = failure

    def _append(self, record: Record) -> None:
        if self._journal is None:
            self._log_unusual()
            return
        self._journal.append(encode_line(record))

    def _drop(self, key: str, reason: str) -> None:
        key, reason = self._keys.checked(key), redact_text(reason)
        self._dropped[key] = self._dropped.get(key, 0) + 1
        if key not in self._told:
            self._told.add(key)
            warn(f"1 value was dropped: {key!r} {reason}. From now on it is only counted.")
            if self._journal is not None:
                self._append(Dropped(time=time.time(), key=key, reason=reason))

    # How it lives and ends

    def after_fork(self) -> None:
        """Become harmless in a forked child: it may log, but it never finishes the run or touches the deliveries."""
        self._lock = threading.Lock()
        self._copies = Copies()
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

    def __reduce__(self) -> tuple[Callable[..., "Run"], tuple[RunFile, str]]:
        """Travel to another process as a run that takes everything and writes nothing."""
        return _silent, (self._file, str(self.dir))

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.id} in {self.dir}: {self.status or 'running'}>"


def _silent(file: RunFile, path: str) -> Run:
    return Run(file, RunDirectory(Path(path)), None, None)
