"""Write runs to Comet.

Needs: comet_ml 3.43.2 or newer, tested with 3.58.8.
Writes: an experiment at Comet when credentials are configured, else archives for `comet upload`, one for each process
    that had the run open, under the run's directory or in COMET_OFFLINE_DIRECTORY. An experiment that the script has
    opened itself is joined with `delivery="thread"`, and left open; with the default delivery there are two, and `init`
    says so. Online the SDK keeps an archive, too: `read` reads the archives in both modes. Each point has the time at
    which it was logged, also when it is sent later. A summary value is an "other"; an artifact is an Artifact online,
    and assets in a folder of its name offline. A process that is killed offline leaves no archive, so all of its
    session is delivered again; online, what Comet has not acknowledged, and does not show when it is asked. A deleted
    experiment is recreated with the other `runcast/replaces`, an archived one is resumed.
Drops: the bins of a histogram, which Comet replaces by its own; folders without files. Comet knows experiments that
    crashed or that the user stopped; which of our words is meant stands in the other `runcast/status`. On a full disk
    the SDK raises nothing. A point that Comet took just before a kill comes twice if Comet does not show it soon.
    `comet upload` thins each metric to 15,000 points (COMET_OFFLINE_SAMPLING_SIZE); the archive holds them all.
    Archives have the start and the end of the training; online Comet sets its own.
Limits: the constants below, read in comet_ml 3.58.8 (config/config_constants.py, artifacts/, schemas/) on 2026-11-20.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comet_ml
from comet_ml.exceptions import CometException, CometRestApiException, LogArtifactException
from comet_ml.messages import MetricMessage

from runcast.core.errors import FinalError, GoneError, RetryableError, TrackerError
from runcast.integrations.comet_ml import reader, sessions
from runcast.integrations.comet_ml.media import list_files, log_as_its_kind
from runcast.integrations.comet_ml.presence import Stuck, is_acknowledged, is_gone, note_arrived
from runcast.integrations.comet_ml.sdk import VARIABLES, end_at, start
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.values.names import NameRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

KEY_CHARS, VALUE_CHARS = 100, 1000
LINE_BREAKS = r"[\x00-\x1f\x7f\x85\u2028\u2029]"
FLUSH_S = 30


class CometTracker(Tracker):
    """The one experiment that a process can have."""

    name = "comet_ml"
    variables = VARIABLES
    identities = frozenset(("key",))
    names = NameRule(LINE_BREAKS, KEY_CHARS, reader.OWN_METRICS | reader.OWN_OTHERS)
    param_names = NameRule(LINE_BREAKS, KEY_CHARS, reader.OWN_PARAMS)
    artifact_names = NameRule(rf"[/:]|{LINE_BREAKS}", KEY_CHARS)
    max_param_chars = VALUE_CHARS

    _tracked: TrackedRun
    _experiment: Any = None
    _is_joined = _is_online = False
    _stuck: Stuck | None = None

    def setup(self, run: TrackedRun) -> None:
        self._tracked, running = run, comet_ml.get_running_experiment()
        if self._experiment is None and running is not None and running.alive:
            self._experiment, self._is_joined = running, True
            self._is_online = not isinstance(running, comet_ml.OfflineExperiment)
            folder = getattr(running, "offline_directory", "")
            run.join(key=running.get_key(), folder=str(Path(folder).absolute()) if folder else "")
        elif self._experiment is None:
            self._is_online = run.options.get("online", run.online)
            sessions.remember_place(run)
            note_arrived(run, online=self._is_online)
            sessions.settle_earlier_sessions(run, upload=self._is_online)
            self._experiment = start(run, online=self._is_online)
            self._stuck = Stuck(run) if self._is_online else None
            self._leave_if_gone()
        for key, value in ((reader.GROUP, run.group), (reader.NOTES, run.notes), (reader.REPLACES, run.replaces)):
            if value:
                self._experiment.log_other(key, value[:VALUE_CHARS])
        run.url = self._experiment.url if self._is_online else str(sessions.archive_folder(run))

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._experiment.log_parameters(dict(params))

    def log_metrics(self, points: Sequence[Point]) -> None:
        # Not log_metric, which stamps a point with the present time, and sends a parameter with every new step.
        for key, value, step, moment in points:
            message = MetricMessage(timestamp=int(moment * 1000) or None)
            message.set_metric(key, value, step=step)
            self._experiment._enqueue_message(message)

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        too_long = [key for key, value in values.items() if isinstance(value, str) and len(value) > VALUE_CHARS]
        for key, value in values.items():
            if key not in too_long:
                self._experiment.log_other(key, value)
        if too_long:
            raise FinalError(f"Comet holds {VALUE_CHARS} characters, these values have more: {', '.join(too_long)}.")

    def add_tags(self, tags: Sequence[str]) -> None:
        self._experiment.add_tags(list(tags))

    def log_media(self, media: MediaFile) -> None:
        if log_as_its_kind(self._experiment, media) is None:
            raise FinalError(f"Comet cannot take {media.path.name} as {media.kind}; its own message is in the log.")

    def log_artifact(self, artifact: ArtifactFile) -> None:
        files = list_files(artifact.path)
        if not files:
            raise FinalError(f"Comet cannot hold {artifact.name}, a folder without files.")
        metadata = {reader.METADATA: {"artifact": artifact.name, "type": artifact.kind}}
        if self._is_online:
            made = comet_ml.Artifact(artifact.name, artifact.kind)
            for inside, file in files.items():
                made.add(str(file), logical_path=inside, metadata=metadata)
            self._experiment.log_artifact(made)
            return
        for inside, file in files.items():
            name = f"{artifact.name}/{inside}" if artifact.path.is_dir() else artifact.name
            if self._experiment.log_asset(str(file), file_name=name, metadata=metadata) is None:
                raise FinalError(f"Comet cannot take {name}; its own message is in the log.")

    def flush(self) -> None:
        """Wait until the SDK's thread has what was logged: its queue in memory has no bound."""
        streamer = self._experiment.streamer
        while streamer.messages.qsize() and streamer.is_alive():
            time.sleep(0.002)
        if self._stuck is not None and self._stuck.look():
            self._leave_if_gone()

    def leave(self) -> None:
        if self._is_online:
            is_flushed = self._experiment.flush(timeout=FLUSH_S)
            self._leave_if_gone()
            if not (is_flushed and (self._is_joined or is_acknowledged(self._tracked, self._experiment, FLUSH_S))):
                raise RetryableError(f"Comet did not take everything within {FLUSH_S} s.")

    def finish(self, ending: Ending) -> None:
        if (experiment := self._experiment) is None:
            return
        experiment.log_other(reader.STATUS, ending.status)
        if ending.error:
            experiment.log_other(reader.ERROR, ending.error[-VALUE_CHARS:])
        if ending.status == "killed":
            experiment.log_other(reader.STOPPED, True)
        elif ending.status != "finished":
            experiment._report_experiment_error(ending.error or ending.status, has_crashed=True)  # as its hook does
        self.leave()
        self._experiment = None
        if not self._is_joined:
            end_at(experiment, ending.ended_at)
            experiment.end()
            shutil.rmtree(self._tracked.local / sessions.OPEN, ignore_errors=True)

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, CometRestApiException):
            status = error.response.status_code
            is_final = status == 501 or (400 <= status < 500 and status not in (408, 429))
            return (FinalError if is_final else RetryableError)(f"Comet answers: {error}")
        if isinstance(error, LogArtifactException):
            return (FinalError if error.sdk_error_code else RetryableError)(f"Comet did not take the artifact: {error}")
        if isinstance(error, CometException | ValueError | TypeError):
            return FinalError(f"Comet refuses: {error!r}")
        return super().explain(error)  # those of requests are OSErrors, too

    def exists(self, run: TrackedRun) -> bool | None:
        return not is_gone(run) if run.options.get("online", run.online) and "key" in run.ids else None

    def read(self, run: TrackedRun) -> Reading:
        if self._experiment is not None:
            self.flush()
            time.sleep(0.1)  # the last message has left the queue, and is being written
        return reader.read_sessions(sessions.list_sessions(run), has_times=not run.options.get("online", run.online))

    def _leave_if_gone(self) -> None:
        """Leave a deleted experiment, unless it is the script's own."""
        if self._stuck is None or not is_gone(self._tracked):
            return
        experiment, self._experiment = self._experiment, None
        experiment.end()  # or the next one would be this one
        raise GoneError(f"Comet no longer has the experiment {self._tracked.ids['key']}")
