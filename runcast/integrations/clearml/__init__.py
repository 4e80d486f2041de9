"""Write runs to ClearML: to a server, else to an offline session, which can be imported into one later.

Needs: clearml 1.14 or newer, tested with 2.1.12.
Writes: online a task; one that is open around the training already (clearml-agent's, the script's own) is joined and
    left open. Else a session folder, which `clearml-task --import-offline-session` takes; an offline task of the
    script's is joined with `delivery="thread"` only, and `init` says so. `train/loss` is the series
    "loss" of the title "train". Events are sent by the calling thread (events.add_batch, or the session's file
    metrics.jsonl): a ClearML Logger queues them, does not tell when they are lost, and stamps them when it sends them.
    A deleted task is recreated, with the user property `runcast_replaces`; an archived one is resumed.
    A server replaces an event by one of the same step and series, so what may be a second value of its step has one
    field more, which tells them apart.
Drops: captions of media. An imported session is always "completed", and has the last of several values of a step; the
    user property `runcast_status` tells how the run ended. Start and end are those of the delivery: a server sets
    them when a task is started and ended, and a session holds neither. The times of points are those of the training.
Limits: the constants below and: a server's index refuses NaN and ±inf, so such a point is a 0.0 in the series
    "<series>=nan". Read in EventBLL.add_events of clearml-server and in clearml 2.1.12, 2026-11-20.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from clearml.backend_api import Session

from runcast.core.errors import RetryableError, TrackerError
from runcast.integrations.clearml import events, task
from runcast.integrations.clearml.places import Server, SessionFolder
from runcast.integrations.clearml.reader import read_session, read_task
from runcast.integrations.clearml.sdk import configure, has_task, meaning
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import RESERVED
from runcast.values.names import NameRule, PathRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

KEY_CHARS = 8000  # a term of the server's index has at most 32,766 bytes
FOLDER = rf"{RESERVED}|[\0\\]|\A/|/\Z|\A\.(?=\.?\Z)"  # in a session an artifact's name is that of a folder
FILE_NAMES = NameRule(r"[^A-Za-z0-9_.\- ]", 100)


class ClearmlTracker(Tracker):
    """One task: on a server, or in the folder of an offline session."""

    name = "clearml"
    variables: ClassVar[Mapping[str, str]] = {
        "task_id": "CLEARML_TASK_ID TRAINS_TASK_ID",
        "output_uri": "CLEARML_DEFAULT_OUTPUT_URI",
        "project": "CLEARML_PROJECT",
        "name": "CLEARML_TASK",
    }
    identities = frozenset(("task",))
    names: ClassVar[NameRule] = NameRule(r"\A/|/\Z|=(?=(?:nan|inf|-inf)\Z)", KEY_CHARS)
    param_names: ClassVar[NameRule] = NameRule(r"\A/|/\Z", KEY_CHARS)
    artifact_names: ClassVar[NameRule] = PathRule(FOLDER, path_bytes=240)

    _run: TrackedRun
    _place: Server | SessionFolder
    _repeats: events.Repeats
    _task: Any = None

    def setup(self, run: TrackedRun) -> None:
        self._run, known, is_online = run, run.ids.get("task"), configure(run)
        session = Session() if is_online else None
        self._task = self._task or (task.open_task(session, run) if is_online else task.open_session(run))
        self._place = SessionFolder(run, self._task) if session is None else Server(session, run, self._task)
        self._repeats = events.Repeats(is_resumed=run.resumed or run.is_joined)
        if known != self._task.id and not run.is_joined:
            self._task.set_comment(run.notes or "")
            self._task._edit(script=task.script_of(run))  # set_script fails where there is none
            own = {"runcast_run_id": run.id, "runcast_replaces": run.replaces, "group": run.group}
            self._task.set_user_properties(**{key: value for key, value in own.items() if value})
        self._task.set_user_properties(runcast_status="running")
        run.url = self._place.url

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Store hyperparameters, one way: `connect` would bring a server's values back."""
        self._update({f"General/{key}": "None" if value is None else value for key, value in params.items()})

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points as scalars of a title and a series."""
        made = ((events.new_scalar(self._task.id, point), point) for point in points)
        self._place.send([self._repeats.set_apart(event, point) for event, point in made])

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Store values in the section "Summary", exactly, and finite numbers as single values, too."""
        self._update({f"Summary/{key}": events.to_text(value) for key, value in values.items()})
        numbers = [(k, v) for k, v in values.items() if not isinstance(v, str | bool) and math.isfinite(v)]
        if numbers:
            self._place.send(
                [events.new_single_value(self._task.id, key, value, self._run.time) for key, value in numbers]
            )

    def add_tags(self, tags: Sequence[str]) -> None:
        """Add tags to the task's."""
        self._place.reach()
        self._task.add_tags(list(tags))

    def log_media(self, media: MediaFile) -> None:
        """Store a table or a histogram as a plot, anything else as a debug sample."""
        is_plot = media.kind in ("table", "histogram")
        event = events.new_event(
            events.PLOT if is_plot else events.FILE, self._task.id, media.key, media.step, media.time
        )
        if is_plot:
            event["plot_str"] = json.dumps(
                events.to_table(media) if media.kind == "table" else events.to_histogram(media)
            )
        else:
            file = [event["metric"], event["variant"], f"{media.step}-{media.path.name}"]
            place = [self._run.project, f"{self._run.name}.{self._task.id}", "metrics", *file]
            event["key"] = "/".join(map(FILE_NAMES.encode, place))
            event["url"] = self._place.upload(media.path, event["key"])
        self._place.send([event])

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Store a file, or a folder as a zip; the same name again replaces it."""
        self._place.reach()
        name = self._place.artifact_name(artifact.name)
        if not self._task.upload_artifact(name, artifact.path, {"kind": artifact.kind}, wait_on_upload=True):
            raise RetryableError(f"ClearML could not upload the artifact {artifact.name!r}")
        self._place.keep_private()

    def finish(self, ending: Ending) -> None:
        """End the task, unless it was open before us; offline, make the zip of the session."""
        if self._task is None:
            return
        self._place.reach()
        self._task.set_user_properties(runcast_status=ending.status)
        if ending.error:
            self._task.set_configuration_object("error", config_text=ending.error)
        if not self._run.is_joined:
            self._place.end(ending)
        self._task = None

    def explain(self, error: Exception) -> TrackerError | None:
        return meaning(error) or super().explain(error)  # a requests.RequestException is an OSError

    def exists(self, run: TrackedRun) -> bool | None:
        if "task" not in run.ids:
            return None
        return has_task(Session(), run) if configure(run) else task.session_folder(run).is_dir()

    def read(self, run: TrackedRun) -> Reading:
        if "task" not in run.ids:
            return Reading()
        if not configure(run):
            return read_session(task.session_folder(run))
        return read_task(Session(), run.ids["task"], is_joined=run.is_joined)

    def _update(self, parameters: Mapping[str, Any]) -> None:
        self._place.reach()
        self._task.update_parameters(parameters)
