"""Make TensorBoard's events, with neither torch nor TensorFlow: texts, hyperparameters, the status, media."""

import json
import math
from typing import Any, cast

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_RUNNING, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.text.summary_v2 import text_pb

from runcast.integrations.contract import MediaFile
from runcast.values.media.cells import Cell
from runcast.values.points import EXACT
from runcast.values.scalars import ParamValue

OUTCOMES = {
    "finished": STATUS_SUCCESS,
    "failed": STATUS_FAILURE,
    "killed": STATUS_FAILURE,
    "crashed": STATUS_FAILURE,
    "running": STATUS_RUNNING,
}
MAX_MEDIA_BYTES = 2**28  # of a file, which is in memory several times while it is written and shown
PNG = b"\x89PNG"
FENCE = "```json\n"


def first_event(moment: float) -> bytes:
    """Make the event with which a file begins."""
    event = Event(wall_time=moment, file_version="brain.Event:2", source_metadata=SourceMetadata(writer="runcast"))
    return cast("bytes", event.SerializeToString())


def session_end(status: str, moment: float) -> Summary:
    """Make what the HPARAMS page shows of the end."""
    content = HParamsPluginData(session_end_info=SessionEndInfo(status=OUTCOMES[status], end_time_secs=moment))
    metadata = hparams_metadata.create_summary_metadata(content)
    return Summary(
        value=[
            Summary.Value(
                tag=hparams_metadata.SESSION_END_INFO_TAG, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR
            )
        ]
    )


def hparam(value: ParamValue) -> str | int | float | bool:
    """Return *value* if the HPARAMS page, which knows the numbers of JSON only, can hold it; else its text."""
    if isinstance(value, int | float) and (math.isfinite(value) if isinstance(value, float) else abs(value) <= EXACT):
        return value
    return str(value)


def as_text(value: Any) -> str:
    """Write a value as the TEXT page shows it."""
    return value if isinstance(value, str) else f"{FENCE}{json.dumps(value, indent=1)}\n```"


def media_summary(media: MediaFile) -> Summary:
    """Make what shows a media file; raises OSError or ValueError for a file that is not what it says."""
    if media.kind in ("video", "html"):
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
        return text_pb(media.key, markdown_table(*media.table()))
    else:
        return text_pb(media.key, media.text())
    return Summary(value=[value])


def _in_markdown(cell: Cell) -> str:
    return "" if cell is None else " ".join(str(cell).replace("|", r"\|").splitlines())


def markdown_table(columns: list[str], cells: list[list[Cell]]) -> str:
    """Write a table as the TEXT page shows it."""
    rows = [list(map(_in_markdown, columns)), *([_in_markdown(cell) for cell in row] for row in cells)]
    rows[1:1] = [["---"] * len(row) for row in rows[:1]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
