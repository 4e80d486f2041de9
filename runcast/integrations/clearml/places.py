"""The two places of a task's events and files: a server, or the folder of an offline session."""

import json
import shutil
from pathlib import Path
from typing import Any

import clearml
from clearml.backend_api import Session

from runcast.core.errors import RetryableError
from runcast.integrations.clearml.events import STATUSES
from runcast.integrations.clearml.sdk import ask, check
from runcast.integrations.clearml.task import name_in_session, session_folder
from runcast.integrations.contract import Ending, TrackedRun
from runcast.integrations.files import append
from runcast.journal.status import error_line

EVENTS_PER_REQUEST = 1000


class Server:
    """A server; `session` is the SDK's word for a connection to it."""

    def __init__(self, session: Session, run: TrackedRun, task: Any) -> None:
        self._session, self._run, self._task = session, run, task
        self.url = str(task.get_output_log_web_page())

    def reach(self) -> None:
        """Make sure that the server is there and has the task: a Task would repeat its calls for ever."""
        ask(self._session, "tasks.get_by_id", task=self._task.id)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Send events."""
        for start in range(0, len(events), EVENTS_PER_REQUEST):
            batch = events[start : start + EVENTS_PER_REQUEST]
            for answer in self._session.send_request_batch("events", "add_batch", json=batch):
                check(answer)

    def upload(self, path: Path, key: str) -> str:
        """Upload a media file, and return its address."""
        files = self._run.setting("output_uri") or Session.get_files_server_host()
        url = clearml.StorageManager.upload_file(str(path), f"{files.rstrip('/')}/{key}")
        if not url:
            raise RetryableError(f"ClearML could not upload {path.name} to {files}")
        return str(url)

    def artifact_name(self, name: str) -> str:
        """Return the name under which an artifact overwrites none of another spelling."""
        return name

    def keep_private(self) -> None:
        """Do nothing: the server protects uploads itself."""

    def end(self, ending: Ending) -> None:
        """End the task."""
        reason = error_line(ending.error or "") or ending.status
        call = f"tasks.{STATUSES[ending.status]}"
        ask(self._session, call, task=self._task.id, force=True, status_reason=reason)


class SessionFolder:
    """The folder of an offline session, which becomes a zip when the task is closed."""

    def __init__(self, run: TrackedRun, task: Any) -> None:
        self._run, self._task = run, task
        self._folder = session_folder(run)
        self.url = str(self._folder)

    def reach(self) -> None:
        """Do nothing: a folder is there."""

    def send(self, events: list[dict[str, Any]]) -> None:
        """Append events to the session's file."""
        append(self._folder / "metrics.jsonl", json.dumps(events).encode() + b"\n")

    def upload(self, path: Path, key: str) -> str:
        """Copy a media file, and return its path."""
        target = self._folder / "data" / key
        target.parent.mkdir(parents=True, exist_ok=True)
        return str(shutil.copyfile(path, target))

    def artifact_name(self, name: str) -> str:
        """Return the name under which an artifact overwrites none of another spelling."""
        return name_in_session(self._run, name)

    def keep_private(self) -> None:
        """Take back that artifacts are for everybody (StorageHelper in clearml/storage/helper.py)."""
        for copied in (self._folder / "data").glob("**/artifacts/**/*"):
            copied.chmod(copied.stat().st_mode & 0o700)

    def end(self, ending: Ending) -> None:
        """Close the task: how it ended is a property of it."""
        self._task.close()
