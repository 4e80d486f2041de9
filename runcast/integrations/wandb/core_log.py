"""Find out whether W&B has stopped accepting a run, and whether it was deleted.

No call of the SDK tells: wandb-core sends in the background, does not repeat a request that was answered with 404 or
409, sends nothing after that one, says so in its log alone, and closes the run as if all were well. Read in wandb-core
(internal/filestream, internal/clients/retry_policy.go), seen in wandb 0.22.0 and 0.31.0, 2026-11-27.
"""

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import wandb

from runcast.core.errors import FinalError, GoneError, RestartError, RetryableError, TrackerError
from runcast.integrations.contract import TrackedRun
from runcast.integrations.wandb.reader import CREATED
from runcast.journal.paths import argument

FATAL, ANSWERED = b"filestream: fatal error", "failed to upload"
SENDING, TAKEN = b"filestream: sending request", b"filestream: request sent"
SENDING_S = 40
NOT_FOUND = "Could not find run"


class CoreLog:
    """The log of wandb-core, followed for what W&B has taken, and for the error after which nothing more is sent."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset = path, 0
        self._said: str | None = None
        self._sent: int | None = None
        self._taken = 0

    def fatal_error(self) -> str | None:
        """Return what it says of the error; None if there was none so far."""
        self._follow()
        return self._said

    def await_rows(self, rows: int) -> None:
        """Wait until W&B has taken as many rows of this process.

        wandb-core sends every fifteen seconds. Old versions do not say what: then that time has to be enough.

        Raises:
            RetryableError: It has not taken them.
        """
        deadline = time.monotonic() + SENDING_S
        while self._taken < rows and time.monotonic() < deadline:
            self._follow()
            time.sleep(0.05)
        if self._taken < rows and self._sent is not None:
            raise RetryableError(f"W&B has taken {self._taken} of {rows} rows.")

    def _follow(self) -> None:
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if self._said is not None or not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                if FATAL in line:
                    self._said = str(json.loads(line)["msg"])
                elif SENDING in line:
                    self._sent = json.loads(line).get("history_lines", self._sent and 0)
                elif TAKEN in line and self._sent:
                    self._taken, self._sent = self._taken + self._sent, 0

    @staticmethod
    def was_answered(error: str) -> bool:
        """Return whether W&B answered: it may have said that there is no such run."""
        return ANSWERED in error


def address_of(opened: Any) -> dict[str, str]:
    """Return where W&B has a run, for it to remember; nothing if it is local."""
    if opened.offline:
        return {}
    return {"path": f"{opened.entity}/{opened.project}/{opened.id}", "server": opened.settings.base_url}


def is_there(run: TrackedRun, settings: wandb.Settings) -> bool:
    """Ask W&B whether it still has a run.

    Raises:
        FinalError: It has not, but the run is on another server.
    """
    gone = is_gone(run.ids["path"], settings)
    if gone:
        run.check_server(_api(settings).settings["base_url"])
    return not gone


def check_unsent(run: TrackedRun, project: str, settings: wandb.Settings) -> None:
    """Keep a run from being sent a second time, from another copy of its folder.

    Raises:
        FinalError: W&B has it already.
    """
    try:
        api = _api(settings)
        path = f"{run.setting('entity') or api.default_entity}/{project}/{run.ids['id']}"
        is_sent = api.run(path).config.get(CREATED) == run.created
    except (OSError, ValueError, wandb.errors.Error):
        return
    if is_sent:
        again = f"runcast sync {argument(run.directory)}"
        raise FinalError(
            "W&B has part of this run, sent from another copy of its folder. Sync that copy; or delete the run at "
            f"W&B, and send all of this copy: {again}"
        )


def _api(settings: wandb.Settings) -> Any:
    given = settings.model_fields_set
    overrides = {"base_url": settings.base_url} if "base_url" in given else None
    return wandb.Api(overrides, api_key=settings.api_key if "api_key" in given else None)


def is_gone(path: str, settings: wandb.Settings) -> bool:
    """Ask W&B whether it no longer has a run that it had, by its "entity/project/id". No answer is no.

    *settings* are those of the run: they say which W&B to ask.
    """
    try:
        _api(settings).run(path)
    except (OSError, ValueError, wandb.errors.Error) as error:
        return NOT_FOUND in str(error)
    return False


def meaning(error: Exception) -> TrackerError | None:
    """Explain an exception of the SDK; None if it is none."""
    said = str(error)
    if isinstance(error, wandb.errors.CommError):
        if "previously created and deleted" in said:
            return GoneError(f"W&B no longer has the run: {said}")
        # wandb-core tries again by itself what may pass, until its time is over: any other answer is final.
        if re.search("(?i)deadline exceeded|timed out", said):
            return RetryableError(f"W&B cannot be reached: {said}")
        return FinalError(f"W&B refuses: {said}. Check the key with: wandb login --verify")
    if isinstance(error, wandb.errors.Error | ValueError | TypeError):
        return FinalError(f"W&B refuses: {said}")
    if isinstance(error, ConnectionError):
        # Nothing in this process can replace a dead wandb-core; the next one reads what reached the file.
        return RestartError(f"wandb-core is gone ({said}): another delivery process continues.")
    return None
