"""Write runs to SwanLab.

Needs: swanlab 0.10 or newer, tested with 0.10.3, which needs protobuf 6.
Writes: a run at SwanLab when credentials are configured, else one folder for `swanlab sync`, in the run's own folder or
    where SWANLAB_LOG_DIR says. All processes and sessions of a run write to one file, so that one `swanlab sync` sends
    all of it. Nothing asks at a prompt. A run that the script has opened itself is left alone. SwanLab keeps one point
    for each key and step, and no step below 0: further ones are in the columns `runcast/again/1/<key>` and
    `runcast/before/<key>`, whose steps count back from 0. Final values, tags added later, the status and long notes are
    in the config, under `runcast/`. Tables and histograms are charts; a file of a kind that SwanLab cannot show (an
    svg, an mp4) is in a page. Artifacts are under `artifacts/` in the run's files. A deleted run is recreated under
    another id.
Drops: an artifact's type; empty folders; online, the times of the start and the end, which are those of the delivery.
    Infinities are counted online. SwanLab shows a failed run as crashed and a killed one as aborted; the config
    `runcast/status` says which. `mode="local"`, whose dashboard is no longer maintained, is taken as "offline": so
    `swanlab watch`, which reads a database of that mode, shows none of these runs.
Limits: MAX_STEP and the constants below, read in swanlab 0.10.3 (sdk/internal/pkg/constraints) on 2026-11-30.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from requests import RequestException
from swanlab.exceptions import ApiError, AuthenticationError
from swanlab.sdk.internal.core_python.context import CoreContext

from runcast.core.errors import FinalError, RetryableError, TrackerError
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.files import files_in, link
from runcast.integrations.swanlab import reader
from runcast.integrations.swanlab.media import keep
from runcast.integrations.swanlab.places import MAX_STEP, OWN
from runcast.integrations.swanlab.run_file import NUMBER, RunFile, config, medium, number, saved
from runcast.integrations.swanlab.sdk import VARIABLES, end_of, settings_of, start_of
from runcast.integrations.swanlab.upload import Upload, is_deleted, log_in
from runcast.values.names import NameRule, PathRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

KEY_CHARS = 450  # of 512, as "runcast/again/1/runcast/before/" may come before it
# Control characters; blanks, "." and "/" at the ends, which SwanLab cuts off; its own names, and ours.
KEY = rf"[\x00-\x1f\x7f]|\A[ ./]+|[ ./]+\Z|\A_(?=_swanlab__\.)|\A{OWN[0]}(?={OWN[1:]})"
NOTE_EVERY_S = 5.0


class SwanlabTracker(Tracker):
    """One run file of SwanLab's own format, which is sent as it grows if the run is online."""

    name = "swanlab"
    variables = VARIABLES
    identities = frozenset(("id",))
    names = NameRule(KEY, KEY_CHARS)
    param_names = NameRule(rf"\A{OWN[0]}(?={OWN[1:]})")
    tag_names = NameRule(max_length=512)
    artifact_names = PathRule(r"/|[\x00-\x1f\x7f]|\A\.(?=\.?\Z)")

    _run: TrackedRun
    _file: RunFile
    _upload: Upload | None = None
    _is_open = False

    def setup(self, run: TrackedRun) -> None:
        if self._is_open:
            return
        settings, start = settings_of(run), start_of(run, self.tag_names)
        if "id" not in run.ids:
            run.remember(sent="0", path="")
        own = run.local.absolute() / reader.FOLDER
        root = Path(run.setting("log_dir") or own).absolute()
        folder = reader.find_folder(run) or root / f"run-{time.strftime('%Y%m%d_%H%M%S')}-{start.id}"
        run.remember(id=start.id, folder="" if folder.parent == own else str(folder.parent))
        context = CoreContext.from_proto(settings.to_core_proto(start.id, folder))
        self._run, self._context, self._file = run, context, RunFile(context, start)
        self._config, self._places = reader.read_config(folder), reader.read_places(self._file.path)
        if run.online:
            self._upload = Upload(start, context, settings)
            self._upload.put_rest(self._file.path, int(run.ids.get("sent", "0")))
            run.remember(path=self._upload.path, server=settings.api_host)
        run.url = self._upload.url if self._upload is not None else str(folder)
        self._is_open, self._noted = True, time.monotonic()
        if len(notes := str(run.setting("notes") or "")) > len(start.description):
            self._configure({reader.NOTES: notes})
        if len(tags := run.words("tags")) > len(start.tags):
            self.add_tags(list(map(self.tag_names.encode, tags)))

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        self._configure(params)

    def log_metrics(self, points: Sequence[Point]) -> None:
        if far := [point for point in points if abs(point.step) > MAX_STEP]:
            raise FinalError(f"SwanLab holds no step beyond {MAX_STEP:,}.", far)
        if self._upload is not None and (infinite := [point for point in points if math.isinf(point.value)]):
            raise FinalError("SwanLab's server holds no infinity.", infinite)
        with self._places.batch() as place:
            self._send(
                self._file.add(
                    [number(*place(key, step, NUMBER), moment, value) for key, value, step, moment in points]
                )
            )

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        self._configure({reader.SUMMARY + key: value for key, value in values.items()})

    def add_tags(self, tags: Sequence[str]) -> None:
        self._configure({reader.TAGS: list(dict.fromkeys((*self._config.get(reader.TAGS, ()), *tags)))})

    def log_media(self, media: MediaFile) -> None:
        kind, item = keep(media, self._context.media_dir)
        with self._places.batch() as place:
            self._send(self._file.add([medium(*place(media.key, media.step, kind), media.time, kind, item)]))

    def log_artifact(self, artifact: ArtifactFile) -> None:
        kept = self._context.files_dir / reader.ARTIFACTS / artifact.name
        link(artifact.path, kept)
        self._send(self._file.save([saved(path, self._context.files_dir) for path in files_in(kept)]))

    def flush(self) -> None:
        if self._upload is not None and time.monotonic() > self._noted + NOTE_EVERY_S:
            self._noted = time.monotonic()
            self._upload.check()
            if self._upload.has_sent_all:
                self._run.remember(sent=str(self._file.size))

    def leave(self) -> None:
        if self._upload is not None:
            self._upload.drain()
            self._run.remember(sent=str(self._file.size))

    def finish(self, ending: Ending) -> None:
        end = end_of(ending)
        if self._is_open:
            self._configure({reader.STATUS: ending.status})
            self._is_open, self._size = False, self._file.size
            self._file.end(end)
        if self._upload is not None:
            self._upload.finish(end)
            self._run.remember(sent=str(self._size))
            self._upload = None

    def explain(self, error: Exception) -> TrackerError | None:
        if isinstance(error, AuthenticationError):
            return FinalError(f"SwanLab refuses the key: {error} Log in with: swanlab login --relogin")
        if isinstance(error, ApiError) and not error.retryable:
            return FinalError(f"SwanLab refuses: {error}")
        if isinstance(error, RequestException):
            return RetryableError(f"SwanLab cannot be reached: {error}")
        return super().explain(error)

    def exists(self, run: TrackedRun) -> bool | None:
        if not (run.online and run.ids.get("path")):
            return reader.find_folder(run) is not None
        settings = settings_of(run)
        log_in(settings)
        is_there = not is_deleted(run.ids["path"])
        if not is_there:
            run.check_server(settings.api_host)
        return is_there

    def read(self, run: TrackedRun) -> Reading:
        folder = Path(run.ids["found"]) if "found" in run.ids else reader.find_folder(run)
        if folder is None:
            raise FinalError(f"SwanLab has nothing of the run in {run.local}. Deliver the run with: runcast sync")
        return reader.read_folder(folder)

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        return reader.find_runs(place, folder)

    def _configure(self, values: Mapping[str, Any]) -> None:
        self._config.update(values)
        reader.write_config(self._context.config_file, self._config)
        self._send(self._file.save([config(self._context.config_file)]))

    def _send(self, records: list[Any]) -> None:
        if self._upload is not None:
            self._upload.put(records)
