"""Read event files that other code has written, such as torch's SummaryWriter.

Each folder with event files is a run, as on TensorBoard's own page. TensorFlow 2 keeps everything as tensors, which
the metadata of their tags explain. Seen in tensorboard 2.21.0 and torch 2.13.0, 2026-12-01; TensorFlow itself was not
run: its scalars and histograms are tried as tensorboard's own `summary_v2` writes them.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata as hparams_metadata
from tensorboard.util import tensor_util

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading, TrackedRun
from runcast.integrations.tensorboard.reader import STATE_FILE, load
from runcast.integrations.tracked_run import found_run
from runcast.values.media.kinds import Histogram
from runcast.values.points import Point, PointList

ENDS = {api_pb2.STATUS_SUCCESS: "finished", api_pb2.STATUS_FAILURE: "failed", api_pb2.STATUS_RUNNING: "running"}
TORCH_TEXT = "/text_summary"  # what torch adds to the tag of a text
SUFFIXES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"RIFF": "wav", b"ID3": "mp3", b"fLaC": "flac"}


def find_runs(place: str, scratch: Path) -> Iterator[TrackedRun]:
    """Yield the folders that have event files, the run of each named by its path."""
    path = Path(place).resolve()
    root = path if path.is_dir() else path.parent
    folders = {file.parent for file in ([path] if path.is_file() else path.rglob("*tfevents*")) if file.is_file()}
    for folder in sorted(folders):
        files = sorted(file.name for file in folder.glob("*tfevents*"))
        name = folder.relative_to(root).as_posix() if folder != root else folder.name
        above = name.rpartition("/")[0]
        yield found_run(
            hashlib.sha256(f"{folder.name}/{files[0]}".encode()).hexdigest()[:12],
            name,
            root.name,
            scratch,
            group=above or None,
            foreign=STATE_FILE not in files,
            ids={"folder": str(folder)},
        )


def read_foreign(folder: Path, files: Path) -> Reading:
    """Read all of a run; what is a file elsewhere goes into the folder *files*."""
    events = load(folder)
    try:
        began = events.FirstEventTimestamp()
    except ValueError:
        raise FinalError(f"The event files in {folder} hold nothing: the script ended before it logged.") from None
    reader = _Reader(events, files)
    for key in events.scalars.Keys():
        for event in events.Scalars(key):
            reader.points.append(Point(key, event.value, event.step, event.wall_time))
    for key in events.images.Keys():
        for event in events.Images(key):
            reader.add(key, event, [event.encoded_image_string])
    for key in events.audios.Keys():
        for event in events.Audio(key):
            reader.add(key, event, [event.encoded_audio_string])
    for key in events.histograms.Keys():
        for event in events.Histograms(key):
            held = event.histogram_value
            edges = [min(held.min, *held.bucket_limit), *held.bucket_limit]
            reader.add_histogram(key, event, list(held.bucket), edges)
    for key in events.tensors.Keys():
        reader.add_tensors(key, events.summary_metadata[key].plugin_data.plugin_name)
    reader.add_hparams()
    reading = reader.reading
    with_time = [event.wall_time for key in events.tensors.Keys() for event in events.Tensors(key)]
    times = [*with_time, *reading.media_times.values(), *(point.time for point in reading.points)]
    reading.started_at = reading.started_at or min(began, *times)
    reading.ended_at = reading.ended_at or max(times, default=reading.started_at)
    return reading


class _Reader:
    """What has been read of a run so far."""

    def __init__(self, events: EventAccumulator, files: Path) -> None:
        self._events, self._files = events, files
        self.points = PointList()
        self.reading = Reading(points=self.points, params={})

    def add_tensors(self, key: str, plugin: str) -> None:
        """Add the tensors of a tag, which belong to a plugin."""
        for event in self._events.Tensors(key):
            value = tensor_util.make_ndarray(event.tensor_proto)
            if plugin == "scalars" and value.size == 1:
                self.points.append(Point(key, value.item(), event.step, event.wall_time))
            elif plugin == "text":
                text = "\n\n".join(_text(each) for each in value.reshape(-1))
                self.add(key.removesuffix(TORCH_TEXT), event, [text.encode()])
            elif plugin == "images":
                self.add(key, event, list(value.reshape(-1)[2:]))
            elif plugin == "audio":
                self.add(key, event, list(value.reshape(-1)[::2] if value.ndim > 1 else value))
            elif plugin == "histograms" and value.size and value.shape[-1] == 3:
                bins = value.reshape(-1, 3)
                self.add_histogram(key, event, bins[:, 2].tolist(), [*bins[:, 0].tolist(), float(bins[-1, 1])])
            else:
                self.reading.left_out[key] = f"is of TensorBoard's plugin {plugin or 'without a name'}"

    def add(self, key: str, event: Any, contents: list[bytes]) -> None:
        """Add the files of a tag at a step; several have a number in their names."""
        for number, content in enumerate(contents):
            name = f"{key}/{number}" if len(contents) > 1 else key
            kind = next((kind for head, kind in SUFFIXES.items() if content.startswith(head)), "txt")
            path = self._files / f"{len(self.reading.contents):08d}.{kind}"
            path.write_bytes(content)
            self.reading.keep(name, event.step, path, event.wall_time)

    def add_histogram(self, key: str, event: Any, counts: list[float], edges: list[float]) -> None:
        """Add the bins of a tag at a step."""
        if not counts:
            self.reading.left_out[key] = "is a histogram without bins"
            return
        path = Histogram(counts=counts, edges=edges).save(self._files, str(len(self.reading.contents)))
        self.reading.keep(key, event.step, path, event.wall_time)

    def add_hparams(self) -> None:
        """Add the hyperparameters, and how the run ended, if the script has said so."""
        found = self._events._plugin_to_tag_to_content.get(hparams_metadata.PLUGIN_NAME, {})
        for tag, content in found.items():
            if tag == hparams_metadata.SESSION_START_INFO_TAG:
                start = hparams_metadata.parse_session_start_info_plugin_data(content)
                for key, value in start.hparams.items():
                    self.reading.params[key] = getattr(value, value.WhichOneof("kind") or "string_value")  # type: ignore[index]
                self.reading.started_at = start.start_time_secs or None
            elif tag == hparams_metadata.SESSION_END_INFO_TAG:
                end = hparams_metadata.parse_session_end_info_plugin_data(content)
                self.reading.status = ENDS.get(end.status)  # type: ignore[assignment]
                self.reading.ended_at = end.end_time_secs or None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
