"""Write runs to Weights & Biases.

Needs: wandb 0.22 or newer, tested with 0.22.0 and 0.31.0; Pillow for images.
Writes: a run at W&B when credentials are configured, else W&B's own files for `wandb sync`, in the run's folder or
    where WANDB_DIR, WANDB_DATA_DIR and WANDB_CACHE_DIR say. A run that the script has opened is joined with
    `delivery="thread"` and left open; W&B may drop rows that the script then logs with its own `step`. By default
    there are two runs, and `init` says so. Points are rows with a step metric of their own, `global_step`, because
    W&B drops a step that goes back, and have the time at which they were logged. A deleted run is recreated under
    another id, with the config `runcast/replaces`; one that another copy of the folder has sent is known by
    `runcast/created`, and refused. An alert is one of W&B's, and a text; the commit is in W&B's git field.
Drops: captions of texts, tables, histograms, and of files that W&B cannot show, which are kept in a page with a link;
    of more than 512 bins, neighbours are merged. W&B shows a crashed run as "Failed"; the summary `runcast/status` says
    which. On a full disk the SDK raises nothing. `_runtime` and the duration are those of the delivery. Up to 0.29,
    more is delivered again after a kill; before 0.27, to close a deleted run takes RUNCAST_CALL_TIMEOUT_S.
Limits: the constants below, read in wandb 0.31.0 (wandb_settings.py, artifacts/, data_types/) on 2026-11-20.
"""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from runcast.core.errors import GoneError, RestartError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.payloads import rows_of
from runcast.integrations.wandb import foreign, reader
from runcast.integrations.wandb.axes import Axes
from runcast.integrations.wandb.core_log import CoreLog, address_of, is_gone, is_there, meaning
from runcast.integrations.wandb.folders import folder_of, own_folders, run_folder
from runcast.integrations.wandb.media import as_wandb, send_alert
from runcast.integrations.wandb.rows import with_step, without_waiting
from runcast.integrations.wandb.sdk import FLUSH_S, VARIABLES, await_upload, open_run, settings_of, settle
from runcast.values.names import NameRule, PathRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

MEDIA_BYTES = 100  # a table is an artifact run-<id>-<key>, of 128 characters at most; an id that we make has 22
ARTIFACT_TYPE = NameRule(r"^wandb-", reserved=frozenset(("job", reader.TABLE_TYPE)))


class WandbTracker(Tracker):
    """One `wandb.Run`, which is never the global one unless the user made it."""

    name = "wandb"
    identities = frozenset(("id",))
    names = NameRule(reserved=reader.OWN_KEYS)
    media_names = PathRule(reserved=reader.OWN_KEYS, path_bytes=MEDIA_BYTES)
    param_names = NameRule(r"\A-+|-+\Z", reserved=reader.OWN_KEYS)
    tag_names = NameRule(max_length=64)
    artifact_names = NameRule(r"[^A-Za-z0-9._-]", max_length=128)
    variables = VARIABLES

    _tracked: TrackedRun
    _axes: Axes
    _run: Any = None
    _is_joined = _is_unsettled = False
    _core_log: CoreLog | None = None
    _summary: Mapping[str, Any] = {}

    def setup(self, run: TrackedRun) -> None:
        self._tracked = run
        if self._run is None and wandb.run is not None and not wandb.run.disabled:
            self._run, self._is_joined = wandb.run, True
            run.join()
        with own_folders(run):
            self._run = self._run or open_run(run, self.tag_names)
            self._axes = Axes(self._run, run.axes)
            if not self._is_joined:
                self._run.config.update(reader.marks(run), allow_val_change=True)
        self._is_unsettled = not (self._is_joined or self._run.offline)
        if self._is_unsettled:
            self._core_log = CoreLog(Path(self._run.settings.log_internal))
        tags, where = json.dumps(self._run.tags or []), address_of(self._run)
        run.remember(id=self._run.id, folder=folder_of(self._run, run), tags=tags, **where)
        run.url = self._run.url or str(run_folder(self._run))

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._run.config.update(dict(params), allow_val_change=True)

    def log_metrics(self, points: Sequence[Point]) -> None:
        self._axes.define(points)
        *rows, last = (with_step(*row) for row in rows_of(points))
        with contextlib.nullcontext() if self._is_joined else without_waiting(self._run):
            for row in rows:
                self._run.log(row)
        self._run.log(last)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._summary = {**self._summary, **values}
        self._run.summary.update(self._summary)

    def add_tags(self, tags: Sequence[str]) -> None:
        self._run.tags = tuple(dict.fromkeys((*(self._run.tags or ()), *tags)))
        self._tracked.remember(tags=json.dumps(self._run.tags))

    def log_media(self, media: MediaFile) -> None:
        with own_folders(self._tracked):
            self._run.log(with_step({media.key: as_wandb(media)}, media.step, media.time))
        send_alert(self._run, media)

    def log_artifact(self, artifact: ArtifactFile) -> None:
        with own_folders(self._tracked):
            made = wandb.Artifact(artifact.name, ARTIFACT_TYPE.encode(artifact.kind))
            add = made.add_dir if artifact.path.is_dir() else made.add_file
            add(str(artifact.path), skip_cache=True, policy="immutable")  # it stays where it is, and needs no copy
            self._run.log_artifact(made)
            if not self._run.offline:  # then the transaction file says nothing of it
                await_upload(made, self._tracked)

    def flush(self) -> None:
        self._stop_if_refused(self._run)

    def leave(self) -> None:
        settle(self._run, self._core_log)

    def finish(self, ending: Ending) -> None:
        run, self._run = self._run, None
        if run is None:
            if self._is_unsettled:
                raise RestartError("W&B did not take everything in time: another delivery process continues.")
            return
        # The summary goes again, as W&B has set it to the last value of a metric of the same name.
        error = {reader.ERROR: ending.error} if ending.error else {}
        run.summary.update({**self._summary, reader.STATUS: ending.status, **error})
        if self._is_joined:
            return
        try:
            run.finish(exit_code=reader.EXIT_CODES[ending.status])
        except OSError:  # it takes too long
            self._leave_if_gone(run)
            raise
        self._stop_if_refused(run)
        if wandb.run is None:
            wandb.teardown()  # `finish` may return before the file is whole
        if self._is_unsettled:
            reader.mark_as_sent(self._tracked)
            self._is_unsettled = False

    def explain(self, error: Exception) -> TrackerError | None:
        return meaning(error) or super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        can_ask = run.online and {"id", "path"} <= run.ids.keys()
        return is_there(run, settings_of(run)) if can_ask else None

    def read(self, run: TrackedRun) -> Reading:
        if self._run is not None or run.is_joined:
            time.sleep(2 * FLUSH_S)  # what was logged just now is still on its way to the file
        return foreign.read_foreign(run) if run.foreign else reader.read_run(run)

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return foreign.find_runs(place, folder)

    def _stop_if_refused(self, run: Any) -> None:
        if said := self._leave_if_gone(run):
            raise RestartError(f"W&B takes nothing more ({said}): another delivery process continues.")

    def _leave_if_gone(self, run: Any) -> str | None:
        """Leave a run that was deleted; else return why W&B takes nothing more of it, as the SDK then sends no more."""
        said = self._core_log.fatal_error() if self._core_log is not None else None
        if said is None or not CoreLog.was_answered(said) or not is_gone(self._tracked.ids["path"], run.settings):
            return said
        with contextlib.suppress(OSError, wandb.errors.Error):
            run.finish()  # or it would be waited for at the end
        raise GoneError(f"W&B no longer has the run: {said}")
