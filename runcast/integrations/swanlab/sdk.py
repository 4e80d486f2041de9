"""Read SwanLab's settings, and describe a run as it does. Seen in swanlab 0.10.3, 2026-11-30."""

import os
from collections.abc import Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from swanlab import Settings
from swanlab.proto.swanlab.run.v1.run_pb2 import FinishRecord, ResumeMode, RunState, StartRecord

from runcast.core.errors import FinalError
from runcast.integrations.contract import Ending, TrackedRun
from runcast.journal.records import Status
from runcast.values.names import NameRule

PROJECT = NameRule(r"[^0-9a-zA-Z_\-+.]", max_length=100)
RUN_ID = NameRule(r"[<>:\"/\\|?*#%\x00-\x1f\x7f]", max_length=100)
NAME_CHARS, NOTES_CHARS, TAGS_AT_START = 512, 1024, 30
VARIABLES: Mapping[str, str] = {
    "project": "SWANLAB_PROJECT SWANLAB_PROJ_NAME SWANLAB_PROJECT_NAME",
    "workspace": "SWANLAB_WORKSPACE SWANLAB_PROJECT_WORKSPACE",
    "public": "SWANLAB_PUBLIC SWANLAB_PROJECT_PUBLIC",
    "name": "SWANLAB_EXP_NAME SWANLAB_EXPERIMENT_NAME",
    "notes": "SWANLAB_DESCRIPTION SWANLAB_EXPERIMENT_DESCRIPTION",
    "group": "SWANLAB_GROUP SWANLAB_EXPERIMENT_GROUP",
    "tags": "SWANLAB_TAGS SWANLAB_EXPERIMENT_TAGS",
    "job_type": "SWANLAB_JOB_TYPE SWANLAB_EXPERIMENT_JOB_TYPE",
    "color": "SWANLAB_EXP_COLOR SWANLAB_EXPERIMENT_COLOR",
    "id": "SWANLAB_RUN_ID",
    "resume": "SWANLAB_RESUME SWANLAB_RUN_RESUME",
    "log_dir": "SWANLAB_LOG_DIR SWANLAB_LOGDIR",
}
STATES: Mapping[Status, Any] = {
    "finished": RunState.RUN_STATE_FINISHED,
    "failed": RunState.RUN_STATE_CRASHED,
    "killed": RunState.RUN_STATE_ABORTED,
    "crashed": RunState.RUN_STATE_CRASHED,
}
RESUME = (ResumeMode.RESUME_MODE_ALLOW, ResumeMode.RESUME_MODE_MUST)
NOT_A_SETTING = "SWANLAB_PROJECT"  # of transformers: the SDK would take it for JSON, and fail


def moment(seconds: float) -> Timestamp:
    """Return a time in SwanLab's form."""
    at = Timestamp()
    at.FromNanoseconds(round(seconds * 1e9))
    return at


def settings_of(run: TrackedRun) -> Any:
    """Read the user's settings from the environment, from SwanLab's own files, and from the option `settings`."""
    hidden = os.environ.pop(NOT_A_SETTING, None)
    try:
        found = Settings(interactive=False, mode="online" if run.online else "offline")
        if given := run.options.get("settings"):
            found.merge_settings(given)
    except ValueError as error:
        raise FinalError(f"SwanLab's settings are wrong: {error}. Look at SWANLAB_* and swanlab.yaml") from error
    finally:
        if hidden is not None:
            os.environ[NOT_A_SETTING] = hidden
    return found


def start_of(run: TrackedRun, tag_names: NameRule) -> StartRecord:
    """Describe the run as SwanLab does, from the user's options, init's arguments and the SDK's variables."""
    anew = f"{run.replaces}-anew-{run.generation}" if run.replaces else ""
    is_there = str(run.setting("resume") or "").lower() == "must"
    texts = {name: str(run.setting(name) or "")[:NAME_CHARS] for name in ("name", "group", "job_type", "color")}
    return StartRecord(
        **texts,
        id=run.ids.get("id") or RUN_ID.encode(anew or str(run.setting("id"))),
        project=PROJECT.encode(str(run.setting("project"))),
        workspace=str(run.setting("workspace") or ""),
        public=str(run.setting("public") or "").lower() in ("1", "true", "yes"),
        description=str(run.setting("notes") or "")[:NOTES_CHARS],
        tags=[tag_names.encode(tag) for tag in run.words("tags")][:TAGS_AT_START],
        resume=RESUME[is_there and not run.resumed],
        started_at=moment(run.created),
    )


def end_of(ending: Ending) -> FinishRecord:
    """Describe how a run ended."""
    error = ending.error or ("" if ending.status == "finished" else ending.status)
    return FinishRecord(state=STATES[ending.status], error=error, finished_at=moment(ending.ended_at))
