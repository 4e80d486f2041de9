"""Writes a run into TensorBoard's event files, with neither torch nor TensorFlow.

Needs: the distribution `tensorboard`, 2.15 or later; tested with 2.21.0.

Writes: one folder of event files, a new file after each restart. It is the run's own folder, so that `tensorboard
--logdir runs` shows each run once; `TENSORBOARD_LOGGING_DIR`, or `setup={"tensorboard": {"log_dir": ...}}`, puts it
elsewhere, in a sub-folder named after the run id. Parameters and status are on the HPARAMS page; parameters, summary,
tags, notes and status are also texts named `runcast/...`.

Drops: artifacts, which TensorBoard has no place for, captions, and line breaks in the cells of tables. A video is kept
as a line of text with its path.

Limits (read in tensorboard 2.21.0, 2026-11-20): values are 32-bit floats, so a finite value beyond 3.4e38 becomes
infinite. The page shows a sample of 1,000 points per metric (more with `--samples_per_plugin scalars=100000`) and,
where the steps of a metric go back, only the later points; the files hold them all. A page that is open keeps the first
parameters and the first final status that it has loaded: restart TensorBoard after a resume.
"""

import errno
import io
import json
import math
import os
import socket
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, cast

from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_RUNNING, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from runcast.core.errors import FinalError, RetryableError
from runcast.integrations.contract import (
    Ending,
    MediaFile,
    NameRule,
    Number,
    ParamValue,
    Point,
    Reading,
    TrackedRun,
    Tracker,
)
from runcast.values.media.cells import Cell
from runcast.values.points import PointList

PARAMS, SUMMARY, TAGS, NOTES, STATUS = TEXTS = (
    "runcast/params",
    "runcast/summary",
    "runcast/tags",
    "runcast/notes",
    "runcast/status",
)
RESERVED = {
    hparams_metadata.EXPERIMENT_TAG,
    hparams_metadata.SESSION_START_INFO_TAG,
    hparams_metadata.SESSION_END_INFO_TAG,
    *TEXTS,
}
OUTCOMES = {
    "finished": STATUS_SUCCESS,
    "failed": STATUS_FAILURE,
    "killed": STATUS_FAILURE,
    "crashed": STATUS_FAILURE,
    "running": STATUS_RUNNING,
}
# TensorBoard takes the first parameters and the first end that it meets in a run, so what may change is in one small
# file that is replaced as a whole, under a name that sorts before the others. It is also what a resumed run starts
# from.
STATE_FILE = "events.out.tfevents.0.state"
MAX_MEDIA_BYTES = 2**28  # of a file, which is in memory several times while it is written and shown
MAX_EXACT_INT = 2**53
PNG = b"\x89PNG"
FENCE = "```json\n"


class TensorboardTracker(Tracker):
    """One event file. Events are collected in memory; `flush` appends them with one write.

    A call that fails leaves no trace, so it can be made again.
    """

    name = "tensorboard"
    names = NameRule(reserved=frozenset(RESERVED))
    precision = "float32"
    variables: ClassVar[Mapping[str, str]] = {"log_dir": "TENSORBOARD_LOGGING_DIR"}

    def setup(self, run: TrackedRun) -> None:
        base = run.setting("log_dir")
        if base and "folder" not in run.ids:
            if "://" in str(base):
                raise FinalError(
                    f"TensorBoard's log directory {base} is not a local folder. Name a local one, and copy it to "
                    f"{base} afterwards."
                )
            run.remember(folder=str(Path(base).expanduser().resolve() / run.id))
        self._run, self._folder = run, _folder(run)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            host = socket.gethostname().replace("/", "_")
            self._file = (self._folder / f"events.out.tfevents.{time.time_ns()}.{host}.{os.getpid()}").open(
                "xb", buffering=0
            )
        except OSError as error:
            raise FinalError(
                f"TensorBoard's folder {self._folder} cannot be written to: {error}. Choose another one as log_dir."
            ) from error
        self._buffer = io.BytesIO()
        self._records = RecordWriter(self._buffer)
        self._records.write(_first_event(run.time))
        self._state = _read_state(self._folder)
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
            self._add(
                Summary(value=[Summary.Value(tag=point.key, simple_value=point.value) for point in group]), step, moment
            )

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._set(SUMMARY, self._state.get(SUMMARY, {}) | dict(values))

    def add_tags(self, tags: Sequence[str]) -> None:
        self._set(TAGS, list(dict.fromkeys([*self._state.get(TAGS, []), *tags])))

    def log_media(self, media: MediaFile) -> None:
        try:
            summary = _media(media)
        except (OSError, ValueError, KeyError) as error:
            raise FinalError(
                f"{media.path} is not a file that TensorBoard can show as {media.kind}: {error}"
            ) from error
        self._add(summary, media.step, media.time)
        self.flush()

    def flush(self) -> None:
        data, size = self._buffer.getvalue(), self._file.tell()
        self._buffer.seek(0)
        self._buffer.truncate()
        try:
            if self._state_changed:
                self._write_state()
            self._state_changed = False
            if self._file.write(data) != len(data):
                self._file.truncate(size)
                self._file.seek(size)
                raise OSError(errno.ENOSPC, "there is no room for all of it")
        except OSError as error:
            raise RetryableError(
                f"TensorBoard's files in {self._folder} cannot grow: {error}. Make room there, then: runcast sync"
            ) from error

    def finish(self, ending: Ending) -> None:
        if not hasattr(self, "_file") or self._file.closed:
            return
        # For a page that is open, which has read the other file already.
        self._add(_session_end(ending.status, ending.ended_at))
        self._set(STATUS, ending.status)
        self._file.close()

    def exists(self, run: TrackedRun) -> bool:
        return (_folder(run) / STATE_FILE).exists()

    def read(self, run: TrackedRun) -> Reading:
        folder = _folder(run)
        state = _read_state(folder)
        if not state:
            raise FinalError(f"TensorBoard has nothing of run {run.id} in {folder}. Deliver the run with: runcast sync")
        events = _load(folder)
        points = PointList(
            Point(key, event.value, event.step, event.wall_time)
            for key in events.scalars.Keys()
            for event in events.Scalars(key)
        )
        stores = (events.images, events.audios, events.histograms, events.tensors)
        media = [
            (key, event.step)
            for store in stores
            for key in store.Keys()
            if key not in RESERVED
            for event in store.Items(key)
        ]
        params, summary, tags = state.get(PARAMS, {}), state.get(SUMMARY, {}), set(state.get(TAGS, []))
        return Reading(
            points=points,
            params=params,
            summary=summary,
            tags=tags,
            media=media,
            status=state[STATUS],
            ended_at=_read_end(folder),
            notes=state.get(NOTES),
        )

    def _add(self, summary: Summary, step: int = 0, moment: float = 0.0) -> None:
        self._records.write(Event(wall_time=moment or self._run.time, step=step, summary=summary).SerializeToString())

    def _set(self, key: str, value: Any) -> None:
        self._state[key] = value
        self._state_changed = True
        self._add(text_pb(key, _as_text(value)))
        self.flush()

    def _write_state(self) -> None:
        summaries = [text_pb(key, _as_text(value)) for key, value in self._state.items()]
        if PARAMS in self._state:
            hparams = {key: _hparam(value) for key, value in self._state[PARAMS].items()}
            summaries.append(hparams_pb(hparams, trial_id=self._run.id, start_time_secs=self._run.created))
        if self._reopened or self._state[STATUS] != "running":
            summaries.append(_session_end(self._state[STATUS], self._run.time))
        new = self._folder / "state.new"
        with new.open("wb") as file:
            records = RecordWriter(file)
            records.write(_first_event(self._run.created))
            for summary in summaries:
                records.write(Event(wall_time=self._run.created, summary=summary).SerializeToString())
        new.replace(self._folder / STATE_FILE)


def _folder(run: TrackedRun) -> Path:
    return Path(run.ids.get("folder", run.local))


def _first_event(moment: float) -> bytes:
    event = Event(wall_time=moment, file_version="brain.Event:2", source_metadata=SourceMetadata(writer="runcast"))
    return cast("bytes", event.SerializeToString())


def _session_end(status: str, moment: float) -> Summary:
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=OUTCOMES[status], end_time_secs=moment))
    metadata = hparams_metadata.create_summary_metadata(content)
    return Summary(
        value=[
            Summary.Value(
                tag=hparams_metadata.SESSION_END_INFO_TAG, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR
            )
        ]
    )


def _hparam(value: ParamValue) -> str | int | float | bool:
    """Return *value* if the HPARAMS page, which knows the numbers of JSON only, can hold it; else its text."""
    if isinstance(value, int | float) and (
        math.isfinite(value) if isinstance(value, float) else abs(value) <= MAX_EXACT_INT
    ):
        return value
    return str(value)


def _media(media: MediaFile) -> Summary:
    if media.kind == "video":
        return text_pb(media.key, str(media.path))
    if (size := media.path.stat().st_size) > MAX_MEDIA_BYTES:
        raise ValueError(f"it has {size / 1e6:,.0f} MB of at most {MAX_MEDIA_BYTES / 1e6:,.0f}")
    if media.kind == "image":
        data = media.path.read_bytes()
        width, height = (
            int.from_bytes(data[start : start + 4], "big") if data.startswith(PNG) else 0 for start in (16, 20)
        )
        value = Summary.Value(tag=media.key, image=Summary.Image(width=width, height=height, encoded_image_string=data))
    elif media.kind == "audio":
        audio = Summary.Audio(encoded_audio_string=media.path.read_bytes(), content_type="audio/wav")
        value = Summary.Value(tag=media.key, audio=audio)
    elif media.kind == "histogram":
        counts, edges = media.histogram()
        histogram = HistogramProto(min=edges[0], max=edges[-1], num=sum(counts), bucket_limit=edges[1:], bucket=counts)
        value = Summary.Value(tag=media.key, histo=histogram)
    elif media.kind == "table":
        return text_pb(media.key, _markdown_table(*media.table()))
    else:
        return text_pb(media.key, media.text())
    return Summary(value=[value])


def _in_markdown(cell: Cell) -> str:
    return "" if cell is None else " ".join(str(cell).replace("|", r"\|").splitlines())


def _markdown_table(columns: list[str], cells: list[list[Cell]]) -> str:
    rows = [list(map(_in_markdown, columns)), *([_in_markdown(cell) for cell in row] for row in cells)]
    rows[1:1] = [["---"] * len(row) for row in rows[:1]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _load(path: Path) -> EventAccumulator:
    return EventAccumulator(str(path), STORE_EVERYTHING_SIZE_GUIDANCE, purge_orphaned_data=False).Reload()


def _read_state(folder: Path) -> dict[str, Any]:
    if not (folder / STATE_FILE).exists():
        return {}
    events = _load(folder / STATE_FILE)
    texts = {
        key: events.Tensors(key)[0].tensor_proto.string_val[0].decode() for key in TEXTS if key in events.tensors.Keys()
    }
    return {
        key: text if key in (NOTES, STATUS) else json.loads(text[len(FENCE) : -len("```")])
        for key, text in texts.items()
    }


def _read_end(folder: Path) -> float | None:
    """Read when the run ended, from what the HPARAMS page shows."""
    events, tag = _load(folder / STATE_FILE), hparams_metadata.SESSION_END_INFO_TAG
    if tag not in events.tensors.Keys():
        return None
    content = events.SummaryMetadata(tag).plugin_data.content
    ended: float = hparams_metadata.parse_session_end_info_plugin_data(content).end_time_secs
    return ended


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else f"{FENCE}{json.dumps(value, indent=1)}\n```"
