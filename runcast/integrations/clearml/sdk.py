"""Set up the ClearML SDK of this process, ask a server, and understand what it answers.

A Task repeats a call for ever when its server is away; `ask` does not, and what it raises says whether to try again.
"""

import fcntl
import re
from typing import Any

import clearml
import requests
from clearml.backend_api import Session
from clearml.backend_api.session.session import LoginError
from clearml.backend_interface.session import SendError
from clearml.config import config_obj
from clearml.config.defs import CLEARML_CACHE_DIR
from clearml.utilities.locks import portalocker

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError
from runcast.integrations.contract import TrackedRun
from runcast.journal.paths import argument

GONE = re.compile("(?i)invalid task id")
RETRIES = {"total": 2, "connect": 2, "read": 1, "redirect": 2, "status": 1, "backoff_factor": 0.5, "backoff_max": 2.0}


def configure(run: TrackedRun) -> bool:
    """Set up the SDK of this process, and return whether the run is online: it stays where it began."""
    online = not run.ids["task"].startswith("offline-") if "task" in run.ids else run.online
    if online and not run.online:
        again = f"runcast sync {argument(run.directory)}"
        raise FinalError(
            f"The run is on a ClearML server and cannot continue offline. Configure credentials, then run: {again}"
        )
    wanted = CLEARML_CACHE_DIR.get()
    cache = run.ids.get("cache", wanted or "") or str(run.local)
    if wanted not in (None, cache):
        CLEARML_CACHE_DIR.set(cache)
    sdk = {"development": {"report_use_subprocess": False}, "storage": {"cache": {"default_base_dir": cache}}}
    config_obj.set_overrides({"sdk": sdk, "api": {"http": {"retries": RETRIES, "wait_on_maintenance_forever": False}}})
    if bool(clearml.Task.is_offline()) == online:
        clearml.Task.set_offline(not online)
    clearml.Task.set_random_seed(None)
    portalocker.lock = _lock
    return online


def _lock(file: Any, flags: int) -> None:
    """Lock a file as the SDK does; where there are no locks everybody gets it, as the SDK would try for years."""
    try:
        fcntl.flock(file.fileno(), flags)
    except BlockingIOError as error:
        raise portalocker.exceptions.LockException(error, fh=file) from error
    except OSError:
        pass


def ask(session: Session, call: str, **fields: Any) -> dict[str, Any]:
    """Call the server's API, as in "tasks.started", and return its data."""
    service, action = call.split(".")
    return check(session.send_request(service, action, json=fields))


def check(answer: requests.Response) -> dict[str, Any]:
    """Return the data of an answer.

    Raises:
        RetryableError: The server is overloaded or broken.
        GoneError: It has no such task.
        FinalError: It refuses the request, or some of the events in it.
    """
    if answer.status_code != 200:
        said = f"ClearML answered {answer.status_code}: {answer.text[:500]}"
        if answer.status_code == 429 or (answer.status_code >= 500 and answer.status_code != 501):
            wish = answer.headers.get("Retry-After", "")
            raise RetryableError(said, float(wish) if wish.isdigit() else None)
        raise (GoneError if GONE.search(answer.text) else FinalError)(said)
    data: dict[str, Any] = answer.json()["data"]
    if data.get("errors"):
        said = f"ClearML refused {data['errors']} events: {data.get('errors_info')}"
        raise (GoneError if GONE.search(said) else FinalError)(said)
    return data


def has_task(session: Session, run: TrackedRun) -> bool:
    """Ask the server whether it has the task of a run."""
    try:
        ask(session, "tasks.get_by_id", task=run.ids["task"])
    except GoneError:
        run.check_server(Session.get_api_server_host())
        return False
    return True


def meaning(error: Exception) -> TrackerError | None:
    """Explain an exception of the SDK: what ClearML refuses stays refused."""
    if isinstance(error, LoginError | SendError):
        code = error.result.meta.result_code if isinstance(error, SendError) else _login_code(error)
        is_away = isinstance(error.__context__, requests.RequestException) or code == 429 or code >= 500
        return (RetryableError if is_away else FinalError)(f"ClearML: {error}")
    return FinalError(f"ClearML: {error}") if isinstance(error, ValueError | clearml.errors.UsageError) else None


def _login_code(error: LoginError) -> int:
    """Find the server's answer to a login: the SDK has it only in the text."""
    found = re.search(r"\(error (\d{3}) from ", str(error))
    return int(found[1]) if found else 401
