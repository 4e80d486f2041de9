"""Write runs to ClearML: to a server, else to an offline session, which can be imported into one later.

Needs: clearml 1.14 or newer, tested with 2.1.12.
Writes: online a task; one that is open around the training already (clearml-agent's, the script's own) is joined and
    left open. Else a session folder, which `clearml-task --import-offline-session` takes; an offline task of the
    script's is joined with `delivery="thread"` only, and `init` says so. `train/loss` is the series
    "loss" of the title "train". Events are sent by the calling thread (events.add_batch, or the session's file
    metrics.jsonl): a ClearML Logger queues them, does not tell when they are lost, and stamps them when it sends them.
    A task that somebody deleted is made anew, with the user property `runcast_replaces`; an archived one goes on.
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
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import clearml
import requests
from clearml.backend_api import Session
from clearml.backend_api.session.session import LoginError
from clearml.backend_interface.session import SendError

from runcast.core.errors import FinalError, RetryableError, TrackerError
from runcast.integrations.clearml_events import (
    FILE,
    PLOT,
    SCALAR,
    STATUSES,
    append,
    new_event,
    new_scalar,
    new_single_value,
    stored_events,
    to_histogram,
    to_reading,
    to_table,
    to_text,
)
from runcast.integrations.clearml_task import (
    all_events,
    ask,
    check,
    configure,
    has_task,
    load,
    login_code,
    name_in_session,
    open_session,
    open_task,
    session_folder,
)
from runcast.integrations.contract import (
    ArtifactFile,
    Ending,
    MediaFile,
    Number,
    ParamValue,
    Point,
    Reading,
    TrackedRun,
    Tracker,
)
from runcast.integrations.files import RESERVED
from runcast.values.names import NameRule

KEY_CHARS = 8000  # a term of the server's index has at most 32,766 bytes
EVENTS_PER_REQUEST = 1000
# A server knows an event by its task, step, title, series and this field, and replaces one by another that has them all
# (event_id_fields in apiserver/bll/event/event_bll.py of clearml-server, 2026-11-27).
KEPT_APART_BY = "key"
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
    artifact_names: ClassVar[NameRule] = NameRule(RESERVED)

    _run: TrackedRun
    _task: Any = None
    _session: Any = None
    _highest: dict[str, int]  # step of each series, to know a value that may be a second one of its step

    def setup(self, run: TrackedRun) -> None:
        """Begin a task, go on with it, or join the one around us."""
        online = configure(run)
        known = run.ids.get("task")
        if online:
            self._session = Session()
            self._task = self._task or open_task(self._session, run)
            run.url = self._task.get_output_log_web_page()
        else:
            self._task = self._task or open_session(run)
            run.url = str(session_folder(run))
        self._run = run
        self._highest, self._repeats = {}, 0
        self._goes_on = run.resumed or run.is_joined
        if known != self._task.id and not run.is_joined:
            self._task.set_comment(run.notes or "")
            own = {"runcast_run_id": run.id, "runcast_replaces": run.replaces, "group": run.group}
            self._task.set_user_properties(**{key: value for key, value in own.items() if value})
        self._task.set_user_properties(runcast_status="running")

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Store hyperparameters, one way: `connect` would bring a server's values back."""
        self._update({f"General/{key}": "None" if value is None else value for key, value in params.items()})

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points as scalars of a title and a series."""
        events = [new_scalar(self._task.id, point) for point in points]
        if self._session is not None:
            for event, point in zip(events, points, strict=True):
                self._set_apart(event, point)
        self._send(events)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Store values in the section "Summary", exactly, and finite numbers as single values, too."""
        self._update({f"Summary/{key}": to_text(value) for key, value in values.items()})
        numbers = [(k, v) for k, v in values.items() if not isinstance(v, str | bool) and math.isfinite(v)]
        if numbers:
            self._send([new_single_value(self._task.id, key, value, self._run.time) for key, value in numbers])

    def add_tags(self, tags: Sequence[str]) -> None:
        """Add tags to the task's."""
        self._reach()
        self._task.add_tags(list(tags))

    def log_media(self, media: MediaFile) -> None:
        """Store a table or a histogram as a plot, anything else as a debug sample."""
        is_plot = media.kind in ("table", "histogram")
        event = new_event(PLOT if is_plot else FILE, self._task.id, media.key, media.step, media.time)
        if is_plot:
            event["plot_str"] = json.dumps(to_table(media) if media.kind == "table" else to_histogram(media))
        else:
            file = [event["metric"], event["variant"], f"{media.step}-{media.path.name}"]
            place = [self._run.project, f"{self._run.name}.{self._task.id}", "metrics", *file]
            event["key"] = "/".join(map(FILE_NAMES.encode, place))
            event["url"] = self._upload(media.path, event["key"])
        self._send([event])

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Store a file, or a folder as a zip; the same name again replaces it."""
        self._reach()
        metadata, name = {"kind": artifact.kind}, artifact.name
        if self._session is None:
            name = name_in_session(self._run, name)
        if not self._task.upload_artifact(name, artifact.path, metadata, wait_on_upload=True):
            raise RetryableError(f"ClearML could not upload the artifact {artifact.name!r}")
        if self._session is None:  # its copies are for everybody (StorageHelper in clearml/storage/helper.py)
            for copied in (session_folder(self._run) / "data").glob("**/artifacts/**/*"):
                copied.chmod(copied.stat().st_mode & 0o700)

    def finish(self, ending: Ending) -> None:
        """End the task, unless it was open before us; offline, make the zip of the session."""
        if self._task is None:
            return
        self._reach()
        self._task.set_user_properties(runcast_status=ending.status)
        if ending.error:
            self._task.set_configuration_object("error", config_text=ending.error)
        if self._run.is_joined:
            pass
        elif self._session is None:
            self._task.close()
        else:
            reason = (ending.error or ending.status).strip().splitlines()[-1]
            ask(
                self._session,
                f"tasks.{STATUSES[ending.status]}",
                task=self._task.id,
                force=True,
                status_reason=reason,
            )
        self._task = None

    def explain(self, error: Exception) -> TrackerError | None:
        """Return whether it may pass: the network and a full disk may, what ClearML refuses stays refused."""
        if isinstance(error, LoginError | SendError):
            code = error.result.meta.result_code if isinstance(error, SendError) else login_code(error)
            is_away = isinstance(error.__context__, requests.RequestException) or code == 429 or code >= 500
            return (RetryableError if is_away else FinalError)(f"ClearML: {error}")
        if isinstance(error, ValueError | clearml.errors.UsageError):
            return FinalError(f"ClearML: {error}")
        return super().explain(error)  # a requests.RequestException is an OSError

    def exists(self, run: TrackedRun) -> bool | None:
        """Ask the server for the task, or look for the session's folder."""
        if "task" not in run.ids:
            return None
        return has_task(Session(), run.ids["task"]) if configure(run) else session_folder(run).is_dir()

    def read(self, run: TrackedRun) -> Reading:
        """Read the session's own files, or ask the server for the task and all of its events."""
        if "task" not in run.ids:
            return Reading()
        if not configure(run):
            folder = session_folder(run)
            return to_reading(load(folder / "task.json") or {}, stored_events(folder / "metrics.jsonl"), trust=True)
        session = Session()
        task = ask(session, "tasks.get_by_id", task=run.ids["task"])["task"]
        events = [event for kind in (SCALAR, FILE, PLOT) for event in all_events(session, task["id"], kind)]
        return to_reading(task, events, trust=run.is_joined)

    def _send(self, events: list[dict[str, Any]]) -> None:
        if self._session is None:
            append(session_folder(self._run) / "metrics.jsonl", events)
            return
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            batch = events[start : start + EVENTS_PER_REQUEST]
            for answer in self._session.send_request_batch("events", "add_batch", json=batch):
                check(answer)

    def _set_apart(self, event: dict[str, Any], point: Point) -> None:
        """Let a server keep a value beside an earlier one of the same step, which it would replace (KEPT_APART_BY)."""
        highest = self._highest.get(point.key)
        if self._goes_on if highest is None else point.step <= highest:
            self._repeats += 1
            event[KEPT_APART_BY] = f"{point.time!r} {self._repeats}"
        self._highest[point.key] = point.step if highest is None else max(highest, point.step)

    def _update(self, parameters: Mapping[str, Any]) -> None:
        self._reach()
        self._task.update_parameters(parameters)

    def _upload(self, path: Path, key: str) -> str:
        if self._session is None:
            target = session_folder(self._run) / "data" / key
            target.parent.mkdir(parents=True, exist_ok=True)
            return str(shutil.copyfile(path, target))
        files = self._run.setting("output_uri") or Session.get_files_server_host()
        url = clearml.StorageManager.upload_file(str(path), f"{files.rstrip('/')}/{key}")
        if not url:
            raise RetryableError(f"ClearML could not upload {path.name} to {files}")
        return str(url)

    def _reach(self) -> None:
        """Make sure that the server is there and has the task: a Task would repeat its calls for ever."""
        if self._session is not None:
            ask(self._session, "tasks.get_by_id", task=self._task.id)
