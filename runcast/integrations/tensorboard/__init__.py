"""Write runs into TensorBoard's event files, with neither torch nor TensorFlow.

Needs: tensorboard 2.15 or newer, tested with 2.21.0.
Writes: one folder of event files, a new file after each restart. It is the run's own folder, so that `tensorboard
    --logdir runs` shows each run once; `TENSORBOARD_LOGGING_DIR`, or `setup={"tensorboard": {"log_dir": ...}}`, puts it
    elsewhere, in a sub-folder named after the run id. Parameters and status are on the HPARAMS page; parameters,
    summary, tags, notes and status are also texts named `runcast/...`.
    A meter's metrics are `~codecarbon/...`, as the page sorts by name and would show them before yours.
Drops: artifacts, which TensorBoard has no place for, captions, and line breaks in the cells of tables. A video is kept
    as a line of text with its path.
Limits: values are 32-bit floats, so a finite value beyond 3.4e38 becomes infinite. The page shows a sample of 1,000
    points per metric (more with `--samples_per_plugin scalars=100000`) and, where the steps of a metric go back, only
    the later points; the files hold them all. A page that is open keeps the first parameters and the first final status
    that it has loaded: restart TensorBoard after a resume. Read in tensorboard 2.21.0 on 2026-11-20.
"""

import io
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from runcast.core.errors import FinalError
from runcast.integrations.contract import Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import append
from runcast.integrations.tensorboard import foreign, reader
from runcast.integrations.tensorboard.events import as_text, first_event, hparam, media_summary, session_end
from runcast.integrations.tensorboard.reader import NOTES, PARAMS, STATUS, SUMMARY, TAGS
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue


class TensorboardTracker(Tracker):
    """One event file. Events are collected in memory; `flush` appends them with one write.

    A call that fails leaves no trace, so it can be made again.
    """

    name = "tensorboard"
    names = reader.NAMES
    precision = "float32"
    variables: ClassVar[Mapping[str, str]] = {"log_dir": "TENSORBOARD_LOGGING_DIR"}

    _run: TrackedRun
    _path: Path | None = None

    def setup(self, run: TrackedRun) -> None:
        base = str(run.setting("log_dir") or "")
        if "://" in base:
            raise FinalError(f"{base} is not a local folder. Give TensorBoard a local log_dir, and copy it afterwards.")
        if base and "folder" not in run.ids and not run.resumed:  # a run stays where it began
            run.remember(folder=str(Path(base).expanduser().resolve() / run.id))
        self._run, self._folder = run, _folder(run)
        host = socket.gethostname().replace("/", "_")
        self._path = self._folder / f"events.out.tfevents.{time.time_ns()}.{host}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._path.touch(exist_ok=False)
        except OSError as error:
            raise FinalError(f"TensorBoard cannot write to {self._folder}: {error}. Choose another log_dir.") from error
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._records.write(first_event(run.time))
        self._state = reader.read_state(self._folder)
        self._reopened, self._state_changed = bool(self._state), False
        self._set(STATUS, "running")
        if run.notes:
            self._set(NOTES, run.notes)
        if run.tags:
            self.add_tags(run.tags)
        run.url = str(self._folder)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._set(PARAMS, self._state.get(PARAMS, {}) | dict(params))

    def log_metrics(self, points: Sequence[Point]) -> None:
        for (step, moment), group in groupby(points, key=lambda point: (point.step, point.time)):
            values = [Summary.Value(tag=point.key, simple_value=point.value) for point in group]
            self._add(Summary(value=values), step, moment)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._set(SUMMARY, self._state.get(SUMMARY, {}) | dict(values))

    def add_tags(self, tags: Sequence[str]) -> None:
        self._set(TAGS, list(dict.fromkeys([*self._state.get(TAGS, []), *tags])))

    def log_media(self, media: MediaFile) -> None:
        try:
            summary = media_summary(media)
        except (OSError, ValueError, KeyError) as error:
            raise FinalError(f"TensorBoard cannot show {media.path} as {media.kind}: {error}") from error
        self._add(summary, media.step, media.time)
        self.flush()

    def flush(self) -> None:
        assert self._path is not None
        data = self._buffer.getvalue()
        self._buffer.seek(0)
        self._buffer.truncate()
        if self._state_changed:
            self._write_state()
        self._state_changed = False
        append(self._path, data)

    def finish(self, ending: Ending) -> None:
        if self._path is None:
            return
        # For a page that is open, which has read the other file already.
        self._add(session_end(ending.status, ending.ended_at))
        self._set(STATUS, ending.status)
        self._path = None

    def exists(self, run: TrackedRun) -> bool:
        return (_folder(run) / reader.STATE_FILE).exists()

    def read(self, run: TrackedRun) -> Reading:
        return foreign.read_foreign(_folder(run), run.local) if run.foreign else reader.read_folder(_folder(run))

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return foreign.find_runs(place, folder)

    def _add(self, summary: Summary, step: int = 0, moment: float = 0.0) -> None:
        self._records.write(Event(wall_time=moment or self._run.time, step=step, summary=summary).SerializeToString())

    def _set(self, key: str, value: Any) -> None:
        self._state[key] = value
        self._state_changed = True
        self._add(text_pb(key, as_text(value)))
        self.flush()

    def _write_state(self) -> None:
        summaries = [text_pb(key, as_text(value)) for key, value in self._state.items()]
        if PARAMS in self._state:
            hparams = {key: hparam(value) for key, value in self._state[PARAMS].items()}
            summaries.append(hparams_pb(hparams, trial_id=self._run.id, start_time_secs=self._run.created))
        if self._reopened or self._state[STATUS] != "running":
            summaries.append(session_end(self._state[STATUS], self._run.time))
        new = self._folder / "state.new"
        with new.open("wb") as file:
            records = RecordWriter(file)
            records.write(first_event(self._run.created))
            for summary in summaries:
                records.write(Event(wall_time=self._run.created, summary=summary).SerializeToString())
        new.replace(self._folder / reader.STATE_FILE)


def _folder(run: TrackedRun) -> Path:
    return Path(run.ids.get("folder", run.local))
