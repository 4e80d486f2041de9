"""The process that writes runs of another tool into a folder of runs: `python -m runcast.history.importing`.

It reads its orders from standard input, and prints a line of JSON for each run. A new run is written aside and moved
into place when it is whole. One that an earlier import has written gets what its source has had since then.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from runcast import __version__
from runcast.core.errors import OptionError, RuncastError
from runcast.core.foreign import attempt, described
from runcast.delivery.attempts import explained
from runcast.delivery.settling import read_orders, settle_in
from runcast.history.transcript import Span, Transcript, span_of
from runcast.integrations.contract import Reading, TrackedRun, Tracker
from runcast.integrations.loading import make_tracker
from runcast.journal.file import append_lines
from runcast.journal.layout import RunDirectory, RunFile, valid_id
from runcast.journal.locks import FileLock
from runcast.journal.paths import make_private
from runcast.journal.records import VERSION, Finish, Metrics, Record, Start, Status, encode_line
from runcast.journal.seal import seal_of
from runcast.redaction.tree import redact, redact_text
from runcast.values.config import plain
from runcast.values.names import decode

ASIDE = ".importing"
FROM = "imported_from"  # the param that says where a run comes from


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of importing one run.

    `result` is "imported", "extended" (it was there, and has got `points` and what else is new), "unchanged", "own" (a
    run that runcast has written, which is in the folder already) or "failed", with the reason in `error`. `status` is
    None for a run that has not ended, as far as its tool knows. `dropped` says why the values of a key could not be
    kept.
    """

    id: str
    name: str
    path: str
    result: Literal["imported", "extended", "unchanged", "own", "failed"]
    points: int = 0
    status: Status | None = None
    dropped: dict[str, str] = {}
    error: str | None = None

    @property
    def is_right(self) -> bool:
        """Return whether the run is in the folder now."""
        return self.result != "failed"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What to import, and into which folder of runs; `title` is the tool's name for people."""

    source: str
    root: str
    title: str
    project: str | None = None


class Importer:
    """The writer of the runs that one tracker has found."""

    def __init__(self, tracker: Tracker, place: Place) -> None:
        self._tracker, self._place, self._root = tracker, place, Path(place.root)
        self._aside = self._root / ASIDE

    def run(self) -> Iterable[Imported]:
        """Import every run, and yield what became of it."""
        make_private(self._root)
        lock = FileLock(self._root / ".import")
        if not lock.take():
            raise OptionError(f"Another process is importing into {self._root}. Try again when it has ended.")
        try:
            self._clean()
            scratch = self._aside / "files"
            make_private(scratch)
            find, source = self._tracker.find_runs, self._place.source
            for found in explained(self._tracker.explain, lambda: list(find(source, scratch))):
                yield self._one(found)
                shutil.rmtree(scratch, ignore_errors=True)
                make_private(scratch)
        finally:
            self._clean()
            lock.release()

    def _clean(self) -> None:
        shutil.rmtree(self._aside, ignore_errors=True)

    def _one(self, found: TrackedRun) -> Imported:
        run_id = _named(self._tracker.name, found.id)
        outcome = Imported(id=run_id, name=found.name, path=str(self._root / run_id), result="failed")
        own = found.ids.get("runcast", "")
        if valid_id(own) and RunDirectory(self._root / own).run_json.is_file():
            return msgspec.structs.replace(outcome, id=own, path=str(self._root / own), result="own")

        def refuse(error: BaseException) -> Imported:
            why = str(error) if isinstance(error, OSError | RuncastError) else described(error)
            return msgspec.structs.replace(outcome, error=why)

        return attempt(lambda: self._write(found, run_id), refuse)

    def _write(self, found: TrackedRun, run_id: str) -> Imported:
        reading = _with_own_names(explained(self._tracker.explain, lambda: self._tracker.read(found)), found)
        place = self._root / run_id
        is_new = not RunDirectory(place).run_json.is_file()
        directory = RunDirectory(self._aside / run_id if is_new else place)
        make_private(directory.path)
        here = f"{self._place.title}: {found.name} in {self._place.source}"
        place_of = here if is_new else directory.load().config.get(FROM, here)
        reading.params = {**(reading.params or {}), FROM: place_of}
        span = span_of(reading, found.created or time.time())
        status = None if reading.status == "running" else reading.status or "finished"
        file = _described(found, reading, run_id, span, self._place.project) if is_new else directory.load()
        transcript = Transcript(directory.path)
        records: list[Record] = list(transcript.rest(reading, span))
        count = sum(len(record.values) for record in records if isinstance(record, Metrics))
        ended = transcript.end and transcript.end.status
        result: Literal["imported", "extended", "unchanged"] = "imported" if is_new else "unchanged"
        if is_new or records or ended != status:
            if not is_new:
                result, file.session, file.started = "extended", file.session + 1, span.start
            start = Start(time=span.start, version=VERSION, session=file.session, host=file.host, pid=0)
            lines = [start, *records, *([Finish(time=span.end, status=status)] if status else [])]
            self._append(directory, file, b"".join(map(encode_line, lines)))
        if is_new:
            os.rename(directory.path, place)
        return Imported(
            id=run_id,
            name=file.name,
            path=str(place),
            result=result,
            points=count,
            status=status,
            dropped=transcript.dropped,
        )

    @staticmethod
    def _append(directory: RunDirectory, file: RunFile, lines: bytes) -> None:
        with directory.settled():
            directory.save(file)
        directory.journal.touch(mode=0o600)
        if not append_lines(directory.journal, lines):
            raise OSError(f"The journal {directory.journal} could not be written as a whole. Free some disk space.")


def _named(tracker: str, identity: str) -> str:
    """Return the id of the run that a tracker knows by *identity*: always the same, and a valid one."""
    text = f"{tracker}-{identity}"
    return text if valid_id(text) else f"{tracker}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def _with_own_names(reading: Reading, found: TrackedRun) -> Reading:
    """Undo what runcast has done to names that the service cannot hold, in a run that runcast has written."""
    if found.foreign:
        return reading
    for field in ("params", "summary"):
        setattr(reading, field, {decode(key): value for key, value in (getattr(reading, field) or {}).items()})
    reading.tags = set(map(decode, reading.tags or ()))
    reading.points = [point._replace(key=decode(point.key)) for point in reading.points]
    reading.contents = {
        decode(name) if isinstance(name, str) else (decode(name[0]), name[1]): path
        for name, path in reading.contents.items()
    }
    return reading


def _described(found: TrackedRun, reading: Reading, run_id: str, span: Span, project: str | None) -> RunFile:
    """Describe a run as if it had been started here, by no process of this machine."""
    file = RunFile(
        id=run_id,
        name=redact_text(reading.name or found.name),
        project=redact_text(project or found.project),
        created=span.start,
        started=span.start,
        group=redact_text(group) if (group := reading.group or found.group) else None,
        tags=sorted(map(redact_text, reading.tags or ())),
        notes=redact_text(notes) if (notes := reading.notes or found.notes) else None,
        given=["name", "project"],
        argv=[redact_text(found.script)] if found.script else [],
        runcast=__version__,
        source=found.source,
        config=redact(plain(reading.params or {})),
    )
    file.seal = seal_of(file)
    return file


def main() -> None:
    """Import, and print what became of each run."""
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # SDKs print to standard output, which is reserved for the outcomes
    orders = read_orders()
    place = msgspec.convert(orders.options, Place)
    settle_in(Path(place.root), orders)
    try:
        for imported in Importer(make_tracker(orders.tracker, orders.environment), place).run():
            output.write(msgspec.json.encode(imported) + b"\n")
    except RuncastError as error:
        output.write(msgspec.json.encode({"error": str(error)}) + b"\n")


if __name__ == "__main__":
    main()
