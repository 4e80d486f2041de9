"""Open a ClearML task: on a server, in the folder of an offline session, or the one that is open around us."""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import clearml
from clearml.backend_api import Session
from clearml.backend_api.services import tasks

from runcast.integrations.clearml.reader import load
from runcast.integrations.clearml.sdk import ask
from runcast.integrations.contract import TrackedRun
from runcast.integrations.files import cut_torn_line, own_name

EXTRAS = ["detect_repository", "hydra", "scikit", "joblib", "matplotlib", "tensorflow", "tensorboard", "tfdefines"]
EXTRAS += ["pytorch", "megengine", "xgboost", "catboost", "fastai", "lightgbm", "gradio", "jsonargparse"]


def open_task(session: Session, run: TrackedRun) -> Any:
    """Get the remembered task, join the one around us (clearml-agent's, the script's own), or create one."""
    around = run.setting("task_id") or _script_task()[1]
    if "task" not in run.ids and around:
        run.join(task=around)
    if "task" not in run.ids:
        run.remember(task=clearml.Task.create(**_names(run), task_type="training").id)
    if not run.is_joined:
        ask(session, "tasks.started", task=run.ids["task"], force=True)
    run.remember(server=Session.get_api_server_host())
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
    cache = Path(task.get_offline_mode_folder()).absolute().parents[1]
    run.remember(task=task.id, cache="" if cache == run.local else str(cache))
    return task


def script_of(run: TrackedRun) -> Any:
    """Describe the script and its commit in ClearML's form."""
    at = run.source
    where = {} if at is None else {"version_num": at.commit, "branch": at.branch, "repository": at.remote}
    return tasks.Script(entry_point=run.script, **{name: value for name, value in where.items() if value})


def name_in_session(run: TrackedRun, name: str) -> str:
    """Return the name of an artifact in a session, where it is also that of a folder."""
    folder = name.replace("/", ".slash.")  # as the SDK names it (seen in 2.1.12)
    roots = (session_folder(run) / "data").glob(f"**/*{run.ids['task']}/artifacts")
    return own_name(next(roots, Path(os.devnull)), folder).removesuffix(folder) + name


def _script_task() -> tuple[bool, str]:
    """Find the task of a training script that uses ClearML itself, and tell whether it is in this process."""
    process, _, task = os.environ.get("CLEARML_PROC_MASTER_ID", "").partition(":")
    if process == str(os.getpid()) and clearml.Task.current_task() is None:
        task = ""  # an earlier run of this process left the variable
    is_here = process == str(os.getpid()) and bool(task)
    if not is_here:
        os.environ.pop("CLEARML_PROC_MASTER_ID", None)  # otherwise the SDK would continue the parent's task by itself
    return is_here, task


def _mend_session(run: TrackedRun) -> str | None:
    """Return the remembered session, repaired; remove an unreadable one, because everything is then sent again."""
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
    cut_torn_line(folder / "metrics.jsonl")
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
