"""Open a W&B run as quietly as the SDK can: with its own folders, the user's settings, and the start of the training.

Seen in wandb 0.22.0 and 0.31.0, 2026-11-30.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import wandb
from wandb.sdk import wandb_run

from runcast.integrations.contract import TrackedRun
from runcast.integrations.wandb import reader
from runcast.integrations.wandb.core_log import CoreLog, check_unsent
from runcast.integrations.wandb.folders import root_of
from runcast.values.names import NameRule

PROJECT = NameRule(r"[/\\#?%:]", max_length=128)
ANEW = "-anew-"  # in the id of a recreated run: W&B never gives that of a deleted one again
FLUSH_S = 0.2
SETTINGS: Mapping[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_skip_transaction_log": False,  # the reader needs it
    "x_transaction_log_flush_interval": FLUSH_S,
}
SAME_NAMES = ("resume", "dir", "project", "entity", "name", "job_type", "notes", "tags")
VARIABLES: Mapping[str, str] = {
    **{option: f"WANDB_{option.upper()}" for option in SAME_NAMES},
    "id": "WANDB_RUN_ID",
    "group": "WANDB_RUN_GROUP",
}
TIMEOUTS: Mapping[str, Any] = {"init_timeout": 30, "finish_timeout": 30, "finish_timeout_raises": True}


def open_run(run: TrackedRun, tag_names: NameRule) -> Any:
    """Begin the run, or resume it after sending what earlier processes left on disk."""
    if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):
        os.environ.pop("WANDB_SERVICE", None)  # of a script that uses wandb itself: that wandb-core dies with it
    if "id" not in run.ids:
        anew = f"{(run.replaces or '').partition(ANEW)[0]}{ANEW}{run.generation}"
        run.remember(id=anew if run.replaces else str(run.setting("id")), artifacts="[]")
    arguments = _arguments(run, tag_names)
    if arguments["mode"] == "online":
        reader.upload_rest(run) if run.resumed else check_unsent(run, arguments["project"], arguments["settings"])
    earlier = reader.list_files(run)
    with contextlib.nullcontext() if run.resumed else _present_at(run.created):
        opened = wandb.init(**arguments)
    if run.resumed and not opened.offline:
        reader.note_cut(run, earlier, opened.starting_step)
    return opened


def _arguments(run: TrackedRun, tag_names: NameRule) -> dict[str, Any]:
    tags = [*json.loads(run.ids.get("tags", "[]")), *map(tag_names.encode, run.words("tags"))]
    settings = settings_of(run)
    mode = run.options.get("mode") or (settings.mode if "mode" in settings.model_fields_set else "online")
    return {
        **run.options,
        **{name: run.setting(name) for name in ("entity", "name", "group", "job_type", "notes")},
        "id": run.ids["id"],
        "resume": "allow" if run.resumed else run.setting("resume"),
        "mode": mode if run.online else "offline",
        "dir": root_of(run),
        "project": PROJECT.encode(run.setting("project")),
        "tags": list(dict.fromkeys(tags)),
        "reinit": "create_new",
        "settings": settings,
    }


def settings_of(run: TrackedRun) -> wandb.Settings:
    """Put the user's settings over ours; wandb.init writes into the object, so each run needs a new one."""
    wanted = run.options.get("settings") or {}
    if isinstance(wanted, wandb.Settings):
        wanted = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    timeouts = {name: value for name, value in TIMEOUTS.items() if f"WANDB_{name.upper()}" not in os.environ}
    at = {"git_commit": run.source.commit, "git_remote_url": run.source.remote} if run.source is not None else {}
    ours = {name: v for name, v in {**SETTINGS, **timeouts, **at}.items() if name in wandb.Settings.model_fields}
    return wandb.Settings(**{**ours, **wanted})


def await_upload(artifact: Any, run: TrackedRun) -> None:
    """Wait until an artifact is on the server; what W&B says of a failure does not tell whether it may pass."""
    try:
        artifact.wait(reader.UPLOAD_S)
    except (ValueError, wandb.errors.Error) as error:
        raise RuntimeError(f"W&B has not taken the artifact: {error}") from error
    sent = {*json.loads(run.ids.get("artifacts", "[]")), artifact.name.partition(":")[0]}
    run.remember(artifacts=json.dumps(sorted(sent)))


def settle(opened: Any, log: CoreLog | None) -> None:
    """Wait until W&B's file, and online W&B itself, have what was logged."""
    time.sleep(2 * FLUSH_S)
    if log is not None:
        log.await_rows(opened.step - opened.starting_step)


@contextlib.contextmanager
def _present_at(moment: float) -> Iterator[None]:
    """Let a run start when its training did: the SDK has no argument for it, and asks `time` when it makes a Run.

    A resumed run has its start already, and `wandb sync` wants several files of a run in the order of theirs.
    """
    wandb_run.time = SimpleNamespace(**{**vars(time), "time": lambda: moment})
    try:
        yield
    finally:
        wandb_run.time = time
