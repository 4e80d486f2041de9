"""Where a ClearML task lives: on a server or in the folder of an offline session; how it is opened and asked.

A Task repeats a call for ever when its server is away; `ask` does not, and what it raises says whether to try again.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clearml
import requests
from clearml.backend_api import Session
from clearml.backend_api.session.session import LoginError
from clearml.config import config_obj
from clearml.utilities.locks import portalocker

from runcast.core.errors import FinalError, GoneError, RetryableError
from runcast.integrations.clearml_events import mend
from runcast.integrations.contract import TrackedRun
from runcast.integrations.files import own_name
from runcast.journal.paths import shown

PAGE_EVENTS = 5000
GONE = re.compile("(?i)invalid task id")
RETRIES = {"total": 2, "connect": 2, "read": 1, "redirect": 2, "status": 1, "backoff_factor": 0.5, "backoff_max": 2.0}
EXTRAS = ["detect_repository", "hydra", "scikit", "joblib", "matplotlib", "tensorflow", "tensorboard", "tfdefines"]
EXTRAS += ["pytorch", "megengine", "xgboost", "catboost", "fastai", "lightgbm", "gradio", "jsonargparse"]


def configure(run: TrackedRun) -> bool:
    """Set up the SDK of this process, and return whether the run is online: it stays where it began."""
    online = not run.ids["task"].startswith("offline-") if "task" in run.ids else run.online
    if online and not run.online:
        again = f"runcast sync {shown(run.directory)}"
        raise FinalError(f"The run is on a ClearML server and cannot go on offline. Give it credentials, then: {again}")
    cache = run.ids.get("cache", os.environ.get("CLEARML_CACHE_DIR", "")) or str(run.local)
    if os.environ.get("CLEARML_CACHE_DIR", cache) != cache:
        os.environ["CLEARML_CACHE_DIR"] = cache
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


def open_task(session: Session, run: TrackedRun) -> Any:
    """Get the remembered task, join the one around us (clearml-agent's, the script's own), or create one."""
    around = run.setting("task_id") or _script_task()[1]
    if "task" not in run.ids and around:
        run.join(task=around)
    if "task" not in run.ids:
        run.remember(task=clearml.Task.create(**_names(run), task_type="training").id)
    if not run.is_joined:
        ask(session, "tasks.started", task=run.ids["task"], force=True)
    task = clearml.Task.get_task(task_id=run.ids["task"])
    if destination := run.setting("output_uri"):
        task.output_uri = destination
    return task


def open_session(run: TrackedRun) -> Any:
    """Begin an offline session, continue the remembered one, or join the script's own in the same process."""
    is_here, around = _script_task()
    if is_here and run.ids.get("task", around) == around:
        task = clearml.Task.current_task()
        run.join()
    else:
        task = _init_task(run, _mend_session(run))
    cache = Path(task.get_offline_mode_folder()).parents[1]
    run.remember(task=task.id, cache="" if cache == run.local else str(cache))
    return task


def name_in_session(run: TrackedRun, name: str) -> str:
    """Return the name of an artifact in a session, where it is also that of a folder."""
    folder = name.replace("/", ".slash.")  # as the SDK names it (seen in 2.1.12)
    roots = (session_folder(run) / "data").glob(f"**/*{run.ids['task']}/artifacts")
    return own_name(next(roots, Path(os.devnull)), folder).removesuffix(folder) + name


def _script_task() -> tuple[bool, str]:
    """Find the task of a training script that uses ClearML itself, and tell whether it is in this process."""
    process, _, task = os.environ.get("CLEARML_PROC_MASTER_ID", "").partition(":")
    if process == str(os.getpid()) and clearml.Task.current_task() is None:
        task = ""  # a run of this process that has ended left the variable behind
    is_here = process == str(os.getpid()) and bool(task)
    if not is_here:
        os.environ.pop("CLEARML_PROC_MASTER_ID", None)  # or the SDK would go on with the parent's task by itself
    return is_here, task


def _mend_session(run: TrackedRun) -> str | None:
    """Return the remembered session, ready to go on; one that cannot be read is removed, for all is sent again then."""
    if "task" not in run.ids and run.resumed:  # its name was lost: it is the one session in the run's own folder
        sessions = [path.name for path in (run.local / "offline").glob("offline-*") if path.is_dir()]
        run.remember(**({"task": sessions[0]} if len(sessions) == 1 else {}))
    if "task" not in run.ids:
        return None
    folder = session_folder(run)
    folder.with_name(f"{folder.name}.zip").unlink(missing_ok=True)  # of an earlier end
    if load(folder / "task.json") is None:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    mend(folder / "metrics.jsonl")
    return run.ids["task"]


def _init_task(run: TrackedRun, known: str | None) -> Any:
    """Call `Task.init`, and undo what it does to the process."""
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    hooks = sys.exit, sys.excepthook
    task = clearml.Task.init(
        **_names(run),
        reuse_last_task_id=False,
        continue_last_task=known or False,
        auto_connect_frameworks=dict.fromkeys(EXTRAS, False),
        auto_connect_arg_parser=False,
        auto_connect_streams=False,
        auto_resource_monitoring=False,
    )
    sys.exit, sys.excepthook = hooks
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)  # with ClearML's own one the process would ignore SIGTERM
    return task


def _names(run: TrackedRun) -> dict[str, str]:
    return {
        "project_name": run.options.get("project_name") or run.setting("project"),
        "task_name": run.options.get("task_name") or run.setting("name"),
    }


def session_folder(run: TrackedRun) -> Path:
    """Return the folder of the run's offline session."""
    return Path(run.ids.get("cache") or run.local).expanduser() / "offline" / run.ids["task"]


def load(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; None if it is lost or damaged."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None


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


def has_task(session: Session, task: str) -> bool:
    """Ask the server whether it has a task."""
    try:
        ask(session, "tasks.get_by_id", task=task)
    except GoneError:
        return False
    return True


def all_events(session: Session, task: str, kind: str) -> Iterator[dict[str, Any]]:
    """Read all events of a kind, page by page."""
    scroll: dict[str, str] = {}
    while True:
        page = ask(session, "events.get_task_events", task=task, event_type=kind, batch_size=PAGE_EVENTS, **scroll)
        if not page.get("events"):
            return
        yield from page["events"]
        scroll = {"scroll_id": page["scroll_id"]}


def login_code(error: LoginError) -> int:
    """Find the server's answer to a login: the SDK has it only in the text."""
    found = re.search(r"\(error (\d{3}) from ", str(error))
    return int(found[1]) if found else 401
