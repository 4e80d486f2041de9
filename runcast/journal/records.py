"""The records of the journal: frozen structs, their JSON form, and back.

Each line is one JSON object whose `type` says which struct it is. `time` is in seconds since the epoch. In `values`,
the three non-finite floats are strings (`values/scalars.py`).
"""

from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec

from runcast.values.media import MediaKind
from runcast.values.points import Point
from runcast.values.scalars import NON_FINITE, NonFinite, Number, ParamValue, without_surrogates

VERSION = 1
ALERTS = "alerts"  # the key of texts that are alerts; their captions are "level: title"

Status: TypeAlias = Literal["finished", "failed", "killed", "crashed"]
Struct = TypeVar("Struct", bound=msgspec.Struct)


class Record(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """One line of the journal."""

    time: float


class Start(Record, frozen=True, tag="start"):
    """The start of a session: the first line of a journal, and one more after every resume."""

    version: int
    session: int
    host: str
    pid: int


class Metrics(Record, frozen=True, tag="metrics"):
    """Numbers at a step; `by` names the tracker that measured them, when it was not the training script."""

    step: int
    values: dict[str, Number | NonFinite]
    by: str | None = None


class RankMetrics(Metrics, frozen=True, tag="rank", kw_only=True):
    """Numbers that another rank of the job logged, under that rank's prefix.

    `source` names the file in the run's folder `ranks` that they were copied from, `end` their end offset there.
    """

    source: str
    end: int


class Params(Record, frozen=True, tag="params"):
    """Configured values, flat: nested keys are joined with '/'."""

    values: dict[str, ParamValue]


class Summary(Record, frozen=True, tag="summary"):
    """Final values, without a step; `by` names the meter whose totals they are."""

    values: dict[str, Number | str | bool]
    by: str | None = None


class Tags(Record, frozen=True, tag="tags"):
    """Tags added to the run."""

    tags: list[str]


class Media(Record, frozen=True, tag="media"):
    """A reference to a file in the run's folder that holds an image, a sound, a table and so on."""

    key: str
    step: int
    kind: MediaKind
    path: str
    caption: str | None = None


class Artifact(Record, frozen=True, tag="artifact"):
    """A reference to the snapshot of a file or folder in the run's folder."""

    name: str
    kind: str
    path: str
    size_bytes: int


class Dropped(Record, frozen=True, tag="dropped"):
    """Values of a key that could not be kept: a record for the first, and at the end one that counts the others."""

    key: str
    reason: str
    count: int = 1


class Finish(Record, frozen=True, tag="finish"):
    """The end of a session, with its status; `error` is the traceback as text, when there was one.

    `dropped` counts the session's values that could not be kept.
    """

    status: Status
    error: str | None = None
    dropped: int = 0


AnyRecord: TypeAlias = Start | Metrics | RankMetrics | Params | Summary | Tags | Media | Artifact | Dropped | Finish

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnyRecord)

encode = _encoder.encode
decode = _decoder.decode
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # raised for a file that is damaged


def read_struct(path: Path, kind: type[Struct]) -> Struct | None:
    """Read a file that holds a struct as JSON; None if it is missing, unreadable or damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *UNREADABLE):
        return None


def encode_line(record: Record) -> bytes:
    """Encode a record as a line of the journal, whatever text it holds."""
    try:
        return encode(record) + b"\n"
    except (TypeError, ValueError):  # a lone surrogate in a key or a text, which UTF-8 cannot hold
        return encode(_without_surrogates(record)) + b"\n"


def _without_surrogates(record: Record) -> Record:
    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return without_surrogates(value)
        if isinstance(value, dict):
            return {clean(k): clean(v) for k, v in value.items()}
        return [clean(v) for v in value] if isinstance(value, list) else value

    return type(record)(**{name: clean(getattr(record, name)) for name in record.__struct_fields__})


def meter_of(record: Record) -> str | None:
    """Return the name of the meter that wrote a record; None for one of the training."""
    return record.by if isinstance(record, Metrics | Summary) else None


def points(record: Metrics | Summary) -> list[Point]:
    """List the points of a record, in the order in which they were logged; those of a meter's totals have step 0."""
    step, time = record.step if isinstance(record, Metrics) else 0, record.time
    return [
        Point(key, NON_FINITE[value] if isinstance(value, str) else value, step, time)
        for key, value in record.values.items()
    ]
