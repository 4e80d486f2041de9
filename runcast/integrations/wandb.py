"""Writes runs to Weights & Biases.

Needs: the distribution `wandb`, 0.22 or newer, tested with 0.22.0 and 0.31.0; Pillow for images.

Writes: a run at W&B when credentials are configured, else a folder of W&B's own files for `wandb sync`. The files lie
under the run's directory, or where WANDB_DIR, WANDB_DATA_DIR and WANDB_CACHE_DIR say. A run that the script has opened
itself is joined with `delivery="thread"`, and left open; rows that the script then logs with a `step` of its own may be
dropped by W&B, as ours count, too. With the default delivery there are two runs, and `init` says so. Points are rows
with a step metric of their own, `global_step`, and never with W&B's step, because W&B drops a step that goes back. Each
row has the time at which it was logged, also when it is sent later. `read` reads the transaction files, online too:
they hold what the SDK was given; of a process that was cut off online only the rows that the server has count, so that
the others come again. A run that somebody deleted is made anew, under another id, with the config `runcast/replaces`.
W&B is asked for it when it is resumed, and after it has refused rows, which the SDK sends every 15 s: it is missed
soon, or when it is finished. Versions before 0.27 know no limit of time for closing the deleted one; there the delivery
process is ended after RUNCAST_CALL_TIMEOUT_S, and the next one begins the run anew.

Drops: captions of texts, tables, histograms, and of files that W&B cannot show (an svg, an avi), which are kept in a
page with a link; of more than 512 bins, neighbours are merged. W&B has no word of its
own for a run that crashed: it shows "Failed",
and the summary `runcast/status` says which. On a full disk the SDK raises nothing. Versions up to 0.29 write the file
only every 64 KiB, so more of the run is delivered again after a kill. The start and the time of each row are those of
the training; `_runtime` and the duration are not: wandb-core computes them, and they are those of the delivery.

Limits: the constants below, read in wandb 0.31.0 (wandb_settings.py, artifacts/, data_types/) on 2026-11-20.
"""

import contextlib
import errno
import inspect
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import wandb

from runcast.core.errors import FinalError, GoneError, RestartError, RetryableError, TrackerError
from runcast.integrations.contract import (
    ArtifactFile,
    Ending,
    MediaFile,
    NameRule,
    Number,
    ParamValue,
    PathRule,
    Point,
    Reading,
    Status,
    TrackedRun,
    Tracker,
)
from runcast.integrations.wandb_file import (
    CUT,
    ERROR,
    OWN_KEYS,
    REPLACES,
    STATUS,
    STEP,
    TABLE_TYPE,
    TIME,
    UPLOAD_S,
    folder_of,
    list_files,
    note_cut,
    read_files,
    synced_mark,
    upload_rest,
)
from runcast.integrations.wandb_gone import ANSWERED, PATH, SENT_ARTIFACTS, CoreLog, is_gone, new_id
from runcast.integrations.wandb_media import as_wandb
from runcast.integrations.wandb_times import beginning

MEDIA_BYTES = 100  # a table is an artifact run-<id>-<key>, of 128 characters at most; an id that we make has 22
PROJECT = NameRule(r"[/\\#?%:]", max_length=128)
ARTIFACT_TYPE = NameRule(r"^wandb-", reserved=frozenset(("job", TABLE_TYPE)))
EXIT_CODES: Mapping[Status, int] = {"finished": 0, "failed": 1, "killed": 255, "crashed": 137}
FLUSH_S = 0.2
VARIABLES: Mapping[str, str] = {
    "id": "WANDB_RUN_ID",
    "resume": "WANDB_RESUME",
    "dir": "WANDB_DIR",
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "name": "WANDB_NAME",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "notes": "WANDB_NOTES",
    "tags": "WANDB_TAGS",
}
DELETED = re.compile("previously created and deleted")
SETTINGS: Mapping[str, Any] = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "x_transaction_log_flush_interval": FLUSH_S,
}
TIMEOUTS: Mapping[str, Any] = {"init_timeout": 30, "finish_timeout": 30, "finish_timeout_raises": True}


class WandbTracker(Tracker):
    """One `wandb.Run`, which is never the global one unless the user made it."""

    name = "wandb"
    variables = VARIABLES
    identities = frozenset(("id",))
    names = NameRule(reserved=OWN_KEYS)
    media_names = PathRule(reserved=OWN_KEYS, path_bytes=MEDIA_BYTES)
    param_names = NameRule(r"\A-+|-+\Z", reserved=OWN_KEYS)
    tag_names = NameRule(max_length=64)
    artifact_names = NameRule(r"[^A-Za-z0-9._-]", max_length=128)

    def __init__(self) -> None:
        self._run: Any = None
        self._tracked: TrackedRun | None = None
        self._is_joined = self._is_online = self._is_settled = False
        self._summary: dict[str, Any] = {}
        self._core_log: CoreLog | None = None

    def setup(self, run: TrackedRun) -> None:
        self._tracked = run
        if f"-{os.getpid()}-" not in os.environ.get("WANDB_SERVICE", ""):
            # Inherited from a script that uses wandb itself: that wandb-core dies with the script.
            os.environ.pop("WANDB_SERVICE", None)
        with _own_folders(run):
            if self._run is None:
                self._is_joined = wandb.run is not None and not wandb.run.disabled
                self._run = wandb.run if self._is_joined else _open(run)
            self._run.define_metric("*", step_metric=STEP)
            if run.replaces and not self._is_joined:
                self._run.config.update({REPLACES: run.replaces}, allow_val_change=True)
        self._is_online = not self._run.offline
        if self._is_joined:
            run.join()
        elif self._is_online:
            self._core_log = CoreLog(Path(self._run.settings.log_internal))
            run.remember(**{PATH: f"{self._run.entity}/{self._run.project}/{self._run.id}"})
        run.remember(id=self._run.id, folder=folder_of(self._run, run), tags=json.dumps(self._run.tags or []))
        run.url = self._run.url or str(Path(self._run.dir).parent)

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._run.config.update(dict(params), allow_val_change=True)

    def log_metrics(self, points: Sequence[Point]) -> None:
        for (step, moment), group in groupby(points, key=lambda point: (point.step, point.time)):
            row: dict[str, Any] = {}
            for point in group:
                if point.key in row:
                    self._log(row, step, moment)
                    row = {}
                row[point.key] = point.value
            self._log(row, step, moment)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._summary |= values
        self._run.summary.update(self._summary)

    def add_tags(self, tags: Sequence[str]) -> None:
        assert self._tracked is not None
        self._run.tags = tuple(dict.fromkeys((*(self._run.tags or ()), *tags)))
        self._tracked.remember(tags=json.dumps(self._run.tags))

    def log_media(self, media: MediaFile) -> None:
        assert self._tracked is not None
        with _own_folders(self._tracked):
            self._log({media.key: as_wandb(media)}, media.step, media.time)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        assert self._tracked is not None
        with _own_folders(self._tracked):
            made = wandb.Artifact(artifact.name, ARTIFACT_TYPE.encode(artifact.kind))
            add = made.add_dir if artifact.path.is_dir() else made.add_file
            add(str(artifact.path), skip_cache=True, policy="immutable")  # it stays where it is, and needs no copy
            self._run.log_artifact(made)
            if self._is_online:  # then the transaction file says nothing of it
                _await(made)
                sent = {*json.loads(self._tracked.ids.get(SENT_ARTIFACTS, "[]")), artifact.name}
                self._tracked.remember(**{SENT_ARTIFACTS: json.dumps(sorted(sent))})

    def flush(self) -> None:
        self._stop_if_refused(self._run)

    def finish(self, ending: Ending) -> None:
        run, self._run = self._run, None
        if run is None:
            if self._tracked is not None and self._is_online and not self._is_joined and not self._is_settled:
                raise RestartError("W&B did not take everything in time: another delivery process continues.")
            return
        # The summary goes again, as W&B has set it to the last value of a metric of the same name.
        run.summary.update({**self._summary, STATUS: ending.status, **({ERROR: ending.error} if ending.error else {})})
        if not self._is_joined:
            try:
                run.finish(exit_code=EXIT_CODES[ending.status])
            except OSError:  # it takes too long
                self._leave_if_gone(run)
                raise
            self._stop_if_refused(run)
            self._settle()

    def _stop_if_refused(self, opened: Any) -> None:
        """End this process if W&B takes nothing more of the run, as the SDK sends nothing more then."""
        if said := self._leave_if_gone(opened):
            raise RestartError(f"W&B takes nothing more ({said}): another delivery process continues.")

    def _leave_if_gone(self, opened: Any) -> str | None:
        """Leave the run if W&B takes nothing more of it because somebody deleted it; return why it takes nothing more.

        Raises:
            GoneError: Somebody did.
        """
        said = self._core_log.fatal_error() if self._core_log is not None else None
        assert self._tracked is not None
        if said is None or ANSWERED not in said or not is_gone(self._tracked.ids[PATH], opened.settings):
            return said
        with contextlib.suppress(OSError, wandb.errors.Error):
            opened.finish()  # or it would be waited for at the end
        raise GoneError(f"W&B no longer has the run: {said}")

    def _settle(self) -> None:
        """Wait until the files are whole, and mark them as being on the server."""
        assert self._tracked is not None
        self._is_settled = True
        if wandb.run is None:
            wandb.teardown()  # `finish` may return before the file is whole
        if self._is_online:
            for file in list_files(self._tracked):
                synced_mark(file).touch()

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, wandb.errors.CommError):
            if DELETED.search(str(error)):
                return GoneError(f"W&B no longer has the run: {error}")
            # wandb-core tries again by itself what may pass, until its time is over: any other answer is final.
            if re.search("(?i)deadline exceeded|timed out", str(error)):
                return RetryableError(f"W&B cannot be reached: {error}")
            return FinalError(f"W&B refuses: {error}. Check the key with: wandb login --verify")
        if isinstance(error, wandb.errors.Error | ValueError | TypeError):
            return FinalError(f"W&B refuses: {error}")
        if isinstance(error, ConnectionError):
            # Nothing in this process can replace a dead wandb-core; the next one reads what reached the file.
            return RestartError(f"wandb-core is gone ({error}): another delivery process continues.")
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.EPERM):
            return FinalError(f"W&B cannot take this file: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        if not run.online or PATH not in run.ids:
            return None
        return not is_gone(run.ids[PATH], _settings(run.options.get("settings") or {}))

    def read(self, run: TrackedRun) -> Reading:
        if self._run is not None or run.is_joined:
            time.sleep(2 * FLUSH_S)  # what was logged just now is still on its way to the file
        reading = read_files(list_files(run), json.loads(run.ids.get(CUT, "{}")))
        reading.artifacts = {*(reading.artifacts or ()), *json.loads(run.ids.get(SENT_ARTIFACTS, "[]"))}
        return reading

    def _log(self, row: Mapping[str, Any], step: int, moment: float) -> None:
        self._run.log({**row, STEP: step, **({TIME: moment} if moment else {})})


def _open(run: TrackedRun) -> Any:
    if "id" not in run.ids:
        run.remember(**{"id": new_id(run), SENT_ARTIFACTS: "[]"})
    arguments = _arguments(run)
    if arguments["mode"] == "online" and run.resumed:
        upload_rest(run)
    earlier = list_files(run)
    with beginning(run):
        opened = wandb.init(**arguments)
    if run.resumed and not opened.offline:
        note_cut(run, earlier, opened.starting_step)
    return opened


def _arguments(run: TrackedRun) -> dict[str, Any]:
    unknown = sorted(set(run.options) - set(inspect.signature(wandb.init).parameters))
    if unknown:
        raise FinalError(f"wandb.init has no option {', '.join(unknown)}. Remove it from setup={{'wandb': ...}}.")
    tags = [*json.loads(run.ids.get("tags", "[]")), *map(WandbTracker.tag_names.encode, run.words("tags"))]
    return {
        **run.options,
        "id": run.ids["id"],
        "resume": "allow" if run.resumed else run.setting("resume"),
        "mode": (run.options.get("mode") or "online") if run.online else "offline",
        "dir": run.setting("dir") or str(run.local),
        "project": PROJECT.encode(run.setting("project")),
        "entity": run.setting("entity"),
        "name": run.setting("name"),
        "group": run.setting("group"),
        "job_type": run.setting("job_type"),
        "notes": run.setting("notes"),
        "tags": list(dict.fromkeys(tags)),
        "reinit": "create_new",
        "settings": _settings(run.options.get("settings") or {}),
    }


def _settings(wanted: Any) -> wandb.Settings:
    """Put the user's settings over ours; wandb.init writes into the object, so each run needs a new one."""
    if isinstance(wanted, wandb.Settings):
        wanted = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    timeouts = {name: value for name, value in TIMEOUTS.items() if f"WANDB_{name.upper()}" not in os.environ}
    ours = {name: value for name, value in {**SETTINGS, **timeouts}.items() if name in wandb.Settings.model_fields}
    return wandb.Settings(**{**ours, **wanted})


@contextlib.contextmanager
def _own_folders(run: TrackedRun) -> Iterator[None]:
    """Keep staged artifacts and caches with the run: W&B takes their folders from the environment, else the home."""
    ours = {"WANDB_DATA_DIR": str(run.local / "data"), "WANDB_CACHE_DIR": str(run.local / "cache")}
    added = [variable for variable in ours if variable not in os.environ]
    os.environ.update({variable: ours[variable] for variable in added})
    try:
        yield
    finally:
        for variable in added:
            del os.environ[variable]


def _await(artifact: Any) -> None:
    """Wait until an artifact is on the server; what W&B says of a failure does not tell whether it may pass."""
    try:
        artifact.wait(UPLOAD_S)
    except (ValueError, wandb.errors.Error) as error:
        raise RuntimeError(f"W&B has not taken the artifact: {error}") from error
