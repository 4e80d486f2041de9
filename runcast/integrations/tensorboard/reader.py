"""Read event files back with TensorBoard's own reader."""

import json
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata

from runcast.core.errors import FinalError
from runcast.integrations.contract import Reading
from runcast.integrations.table import METERS
from runcast.integrations.tensorboard.events import FENCE
from runcast.values.names import NameRule
from runcast.values.points import Point, PointList

PARAMS, SUMMARY, TAGS, NOTES, STATUS = TEXTS = (
    *("runcast/params", "runcast/summary", "runcast/tags", "runcast/notes", "runcast/status"),
)
RESERVED = frozenset(
    (
        hparams_metadata.EXPERIMENT_TAG,
        hparams_metadata.SESSION_START_INFO_TAG,
        hparams_metadata.SESSION_END_INFO_TAG,
        *TEXTS,
    )
)
NAMES = NameRule(reserved=RESERVED, last=METERS)  # an earlier version wrote names of meters as they are
# TensorBoard takes the first parameters and the first end that it meets in a run, so what may change is in one small
# file that is replaced as a whole, under a name that sorts before the others. It is also what a resumed run starts
# from.
STATE_FILE = "events.out.tfevents.0.state"


def read_folder(folder: Path) -> Reading:
    """Read all of a run."""
    state = read_state(folder)
    if not state:
        raise FinalError(f"TensorBoard has nothing of the run in {folder}. Deliver the run with: runcast sync")
    events = load(folder)
    stores = (events.images, events.audios, events.histograms, events.tensors)
    return Reading(
        points=PointList(
            Point(NAMES.encode(key) if key.startswith(METERS) else key, event.value, event.step, event.wall_time)
            for key in events.scalars.Keys()
            for event in events.Scalars(key)
        ),
        params=state.get(PARAMS, {}),
        summary=state.get(SUMMARY, {}),
        tags=set(state.get(TAGS, [])),
        media=[
            (key, event.step)
            for store in stores
            for key in store.Keys()
            if key not in RESERVED
            for event in store.Items(key)
        ],
        status=state[STATUS],
        ended_at=_read_end(folder),
        notes=state.get(NOTES),
    )


def read_state(folder: Path) -> dict[str, Any]:
    """Read what may change: params, summary, tags, notes and status."""
    if not (folder / STATE_FILE).exists():
        return {}
    events = load(folder / STATE_FILE)
    texts = {
        key: events.Tensors(key)[0].tensor_proto.string_val[0].decode() for key in TEXTS if key in events.tensors.Keys()
    }
    return {
        key: text if key in (NOTES, STATUS) else json.loads(text[len(FENCE) : -len("```")])
        for key, text in texts.items()
    }


def _read_end(folder: Path) -> float | None:
    """Read when the run ended, from what the HPARAMS page shows."""
    events, tag = load(folder / STATE_FILE), hparams_metadata.SESSION_END_INFO_TAG
    if tag not in events.tensors.Keys():
        return None
    content = events.SummaryMetadata(tag).plugin_data.content
    ended: float = hparams_metadata.parse_session_end_info_plugin_data(content).end_time_secs
    return ended


def load(path: Path) -> EventAccumulator:
    """Load all events of a folder or a file."""
    return EventAccumulator(str(path), STORE_EVERYTHING_SIZE_GUIDANCE, purge_orphaned_data=False).Reload()
