"""Recording: every call of a script becomes a record in the journal, at once."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from runcast.core.errors import RuncastError
from runcast.core.foreign import attempt, described, pass_on
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import absolute, argument
from runcast.journal.records import Dropped, Metrics, Params, Record, Status, Summary, Tags, encode, encode_line
from runcast.journal.state import Carrier
from runcast.redaction.console import warn
from runcast.redaction.tree import SafeKeys, redact_text
from runcast.run.arrivals import Copies
from runcast.run.sessions import EarlierParams
from runcast.run.status import why_unwritten
from runcast.values.numbers import MAX_EXACT_INT, DeviceValue, NotANumber, a, is_mapping, leaves, start_copy, to_number
from runcast.values.params import flatten
from runcast.values.recorded import Recorded, RecordedAttribute, RecordedResults
from runcast.values.scalars import NonFinite, Number, encodable
from runcast.values.steps import FIRST, LAST, to_step

CHECK_S = 1.0
_PLAIN = frozenset((float, int))


class Recorder:
    """The recording half of a run: writes records, and counts and reports values that cannot be logged."""

    config, summary = RecordedAttribute(), RecordedAttribute()
    _is_copy = False  # made by pickle

    def __init__(
        self, file: RunFile, directory: RunDirectory, journal: Journal | None, carrier: Carrier | None, *, strict: bool
    ) -> None:
        self.id = file.id
        self.config = file.config = Recorded(file.config, partial(self._guarded, "params", self._log_params))
        self.summary = RecordedResults(partial(self._guarded, "summary", self._log_summary), self._log_beside)
        self.step, self.dir = 0, directory.path
        self.status: Status | None = None
        self._file, self._journal, self._carrier, self._strict = file, journal, carrier, strict
        self._failure: RuncastError | None = None
        self._counts_steps, self._has_reported_between = True, False
        self._next_step = self._logged = self._artifacts = 0
        self._dropped: dict[str, int] = {}
        self._reported: dict[str, str] = {}
        self._keys = SafeKeys()
        self._texts: dict[str, str] = {}  # the last bare one of each key: it is kept again when it changes
        self._copies = Copies()
        self._earlier = EarlierParams(directory.journal)
        self._lock = threading.RLock()  # a signal handler may log, or finish, in the middle of a call
        self._check_from = time.time()
        self._check_at = self._check_from + CHECK_S
        self._pid = os.getpid()

    def log(self, values: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Append metrics (and media) at a step; when it returns, they survive the death of this process.

        Args:
            values: Maps a key to a Python or NumPy number, a 0-d or 1-element tensor of any device and dtype, a media
                object (`runcast.Image` …) or something that one can be made of (a text, a picture, a data frame, a
                figure: see "Values" in the docs), or a list of media. Nested mappings are joined with '/'. A value that
                is none of these is counted and reported once per key.
            step: The optimizer step. Without one: the step of the last call that gave one, else 0, 1, 2 … by calls.
            commit: False: without a step, the next call belongs to the same one.
        """
        journal = self._journal
        if (journal is None or self._copies.waiting or self._failure) and (journal := self._log_unusual()) is None:
            return
        if type(step) is int and FIRST <= step <= LAST:
            self.step = step
            self._counts_steps = False
        else:
            step, values = self._settle_step(step, commit, values)
        now = time.time()
        line = b""
        try:
            if type(values) is dict and _PLAIN.issuperset(map(type, values.values())) and self._keys.issuperset(values):
                total = sum(values.values())
                if -MAX_EXACT_INT < total < MAX_EXACT_INT:  # not NaN or infinite, nor is any of them
                    line = encode(Metrics(time=now, step=step, values=values)) + b"\n"
        except Exception as odd:  # noqa: BLE001 - a key, a huge int, a dict that another thread changes: for the slow way
            pass_on(odd)
        if line:
            journal.append(line)
            self._logged += len(values)
        elif type(values) is not dict or values:
            self._guarded("log", self._log_slowly, values, step, now)
        if not self._check_from <= now < self._check_at:
            self._check(now)

    def log_params(self, params: Mapping[str, Any] | Any) -> None:
        """Append configured values.

        Nested keys are joined with '/', secrets are redacted, and the last value of a key wins.
        """
        self._guarded("params", self.config.update, params)

    def _log_params(self, params: dict[str, Any]) -> None:
        if values := flatten(params):
            if self._file.session > 1:
                self._earlier.report_changed(values)
            self._append(Params(time=time.time(), values=values))

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Append final values without a step: numbers, texts, bools."""
        self._guarded("summary", self.summary.update, values)

    def _log_summary(self, values: dict[str, Any]) -> None:
        kept: dict[str, Number | str | bool] = {}
        for key, value in flatten(values).items():
            if value is None:
                self._drop(key, "is None. Leave it out")
            else:
                kept[key] = value
        if kept:
            self._append(Summary(time=time.time(), values=kept))

    def _log_beside(self, media: dict[str, Any]) -> None:
        if self._log_unusual() is not None:
            self._log_slowly(media, self.step, time.time())

    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None, type: str = "file") -> None:
        """Keep a snapshot of a file or a folder with the run.

        Args:
            path: A file or a folder, which is copied. Links are followed, and keep their names; runs of runcast in a
                folder are left out. A missing or unreadable path is reported, not raised.
            name: Its name in the trackers; by default the last part of the path. The same name again is a newer
                version.
            type: The kind of artifact: "model", "dataset", "config", "file".
        """
        self._guarded("artifact", self._log_artifact, path, name, type)

    def _log_artifact(self, path: Any, name: Any, kind: Any) -> None:
        if not (text := os.fsdecode(path)):
            raise ValueError("its path is empty")
        self._keep(Path(text), str(name or absolute(text).name), str(kind))

    def _keep(self, source: Path | bytes, name: str, kind: str) -> None:
        if self._journal is None:
            self._log_unusual()
            return
        from runcast.journal.snapshots import keep_artifact  # rarely needed, and start-up counts

        with self._lock:
            self._artifacts = number = self._artifacts + 1
        try:
            record, lacking = keep_artifact(self.dir, source, name, kind, number)
        except (OSError, ValueError) as error:
            self._drop(name, f"is an artifact that was not kept: {error}")
            return
        self._append(record)
        if lacking:
            self._drop(name, lacking)

    def add_tags(self, *tags: str | Iterable[str]) -> None:
        """Add tags to the run, or lists of them."""
        texts: list[str] = []
        for tag in tags:
            each = tag if issubclass(type(tag), list | tuple | set | frozenset) else (tag,)
            self._guarded("tag", lambda each=each: texts.extend(redact_text(str(one).strip()) for one in each))
        for _ in range(texts.count("")):
            self._drop("tag", "is empty")
        if texts := list(filter(None, texts)):
            self._append(Tags(time=time.time(), tags=texts))

    # How it gets there

    def _settle_step(self, step: Any, commit: Any, values: Any) -> tuple[int, Any]:
        """Return the step to log at, and the values; a step between two, such as 1.7, is kept as a value."""
        if step is not None:
            number, complaint, between = to_step(step)
            if complaint:
                self._drop("step", complaint)
            if number is not None:
                self.step, self._counts_steps = number, False
            if between is None:
                return self.step, values
            self._report_between(between)
            values = attempt(lambda: {"step": between, **values}, lambda _: values)
        if self._counts_steps:
            self.step, self._next_step = self._next_step, self._next_step + (commit is not False)
        return self.step, values

    def _report_between(self, step: float) -> None:
        if not self._has_reported_between:
            self._has_reported_between = True
            where = "calls are counted as steps" if self._counts_steps else f"the last step, {self.step}, is used"
            warn(
                f"step={step!r} is not a whole number: {where}, and it is kept as the metric 'step'. To plot over it, "
                "name it as an x-axis: runcast.init(axes={'*': 'step'})"
            )

    def _guarded(self, what: str, call: Callable[..., object], *arguments: Any) -> None:
        """Call something that runs a user's code; an exception is counted and reported, and training continues."""
        attempt(partial(call, *arguments), lambda error: self._drop(what, f"cannot be read ({described(error)})"))

    def _report_failure(self, error: BaseException) -> None:
        """Report an error of ours, which must not affect the script."""
        warn(
            f"the deliveries cannot be checked ({described(error)}). Nothing is lost: runcast sync {argument(self.dir)}"
        )

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
        from runcast.journal.media import check_whole, media_in, save_media  # rarely needed, and start-up counts

        if issubclass(type(value), str):
            text = str.__str__(value)
            if self._texts.get(key) == text:
                return True
            self._texts[key] = text
        parts = media_in(value)
        for media in parts:
            try:
                self._append(save_media(self.dir, key, media, step, now))
                check_whole(media)
            except NotANumber as reason:
                self._drop(key, str(reason))
        return bool(parts)

    def _collect_copies(self, wait_until: float | None = None) -> None:
        """Record the device values that have arrived; with a deadline, wait for the others."""
        for record, lost in self._copies.take_arrived(wait_until):
            if record.values:
                self._append(record)
                self._logged += len(record.values)
            for key, reason in lost.items():
                self._drop(key, reason)

    def _log_unusual(self) -> Journal | None:
        """Return the journal of a run that is finished, a copy, failed, or has device values on their way, or None."""
        if self._failure is not None and self._strict:
            failure, self._failure = self._failure, None
            raise failure
        if self._copies.waiting:
            self._collect_copies()
        is_closed = self._journal is None and self._pid == os.getpid()
        if is_closed and (why := why_unwritten(self.id, self.status, is_copy=self._is_copy)):
            self._drop("log", why)
        return self._journal

    def _check(self, now: float) -> None:
        self._check_from, self._check_at = now, now + CHECK_S
        if self._carrier is not None:
            failure = attempt(self._carrier.check, self._report_failure)
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
        if key not in self._reported:
            self._reported[key] = reason
            warn(f"1 value was dropped: {key!r} {reason.rstrip('.')}. Further ones are only counted.")
            if self._journal is not None:
                self._append(Dropped(time=time.time(), key=key, reason=reason))

    def _count_dropped(self) -> int:
        """Record how many more values of each key were dropped than reported; return how many in all."""
        for key, count in self._dropped.items():
            if count > 1:
                self._append(Dropped(time=time.time(), key=key, reason=self._reported[key], count=count - 1))
        return sum(self._dropped.values())
