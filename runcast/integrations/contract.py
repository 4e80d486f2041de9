"""The contract between a delivery and a tracker: a Tracker's input, its methods, and its read-back.

A Tracker writes one run to one service. All of its methods are called from one thread of one process
(`runcast.delivery`), in the order `setup`, any of the `log_*`, `flush`, `finish` or `leave`; `read` on its own. It
knows nothing of retries, threads, ranks, redaction or keys that its service cannot hold: those are settled before it is
called. What an SDK raises passes through a method as it is; `explain` says what it means: `RetryableError` (call again
later), `FinalError` (never), `RestartError` (call a fresh process) or `GoneError` (the run was deleted: `setup` of a
fresh Tracker recreates it, see `exists`).
"""

import errno
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from runcast.core.errors import FinalError, OptionError, RetryableError, TrackerError, is_about_content
from runcast.integrations.payloads import ArtifactFile, Ending, MediaFile, Reading
from runcast.integrations.tracked_run import TrackedRun
from runcast.journal.records import Status
from runcast.values.names import NameRule, PathRule
from runcast.values.points import Point
from runcast.values.scalars import Number, ParamValue

Kind = Literal["params", "metrics", "summary", "tags", "media", "artifacts", "status"]
METHODS: Mapping[Kind, str] = MappingProxyType(
    {
        "params": "log_params",
        "metrics": "log_metrics",
        "summary": "log_summary",
        "tags": "add_tags",
        "media": "log_media",
        "artifacts": "log_artifact",
        "status": "finish",
    }
)
ALL_KINDS: frozenset[Kind] = frozenset(METHODS)
OLD_ARGUMENTS = {"finish": "status"}  # of version 0.1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FILE_ERRORS = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)


class Tracker:
    """The writer of one run to one service.

    Subclass it, add a row to the table, and `runcast.testing.check_tracker` says what is missing.

    It supports the methods that it overrides: records of other kinds are never sent, and counted as refused. The
    class attributes are data about the service: which names it accepts (`names` for metrics and summary, and for
    media unless it has `media_names`; likewise for params, tags and artifacts), how long a parameter's text may be,
    whether it keeps 64-bit floats, and how exactly it keeps times. `measures` is true for a tracker that is a meter
    (CodeCarbon): its `measure` is asked now and then for metrics, which then reach every other tracker; `covers` is
    false if they are of moments, and not totals of which it matters how much of the training they cover.
    `variables` maps an option, or an argument of `init`, to the environment variable with which people set it for the
    SDK (several, of which the first that is set counts, have spaces between them): `run.setting` knows them.
    `identities` names those of `TrackedRun.ids` by which the service tells one run from another (default: all): when
    one of them has changed after `setup`, the run there may be a new, empty one, and what it lacks is sent again.
    The constructor takes no arguments and does no I/O.
    """

    name: ClassVar[str]
    supports: ClassVar[frozenset[Kind]] = frozenset()  # is found; a class may name fewer kinds than it inherits
    declared: ClassVar[frozenset[Kind] | None] = None  # what `supports` said before
    names: ClassVar[NameRule] = NameRule()
    param_names: ClassVar[NameRule] = NameRule()
    tag_names: ClassVar[NameRule] = NameRule()
    artifact_names: ClassVar[NameRule] = NameRule()
    media_names: ClassVar[NameRule | None] = None
    max_param_chars: ClassVar[int | None] = None
    precision: ClassVar[Literal["float64", "float32"]] = "float64"
    time_resolution_s: ClassVar[float] = 0.01
    measures: ClassVar[bool] = False
    covers: ClassVar[bool] = True
    variables: ClassVar[Mapping[str, str]] = MappingProxyType({})
    identities: ClassVar[frozenset[str] | None] = None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if changed := _changed(cls):
            raise OptionError(f"{cls.__qualname__} was written for another version of runcast: {'; '.join(changed)}.")
        cls.declared = cls.__dict__.get("supports", cls.declared)
        overridden = (kind for kind, name in METHODS.items() if getattr(cls, name) is not getattr(Tracker, name))
        cls.supports = frozenset(overridden) & (ALL_KINDS if cls.declared is None else cls.declared)

    def setup(self, run: TrackedRun) -> None:
        """Start the run, or resume it if `run.resumed`; set `run.url`. Never closes a run that it did not open."""
        raise NotImplementedError

    def log_params(self, params: Mapping[str, ParamValue]) -> None:
        """Store flat parameters. A key may come again, with another value: the last one holds."""

    def log_metrics(self, points: Sequence[Point]) -> None:
        """Store points.

        Steps may repeat and go back; values may be NaN and ±inf; `step` is a Python int, `value` a float or int.
        """

    def log_summary(self, values: Mapping[str, Number | str | bool]) -> None:
        """Store final values. A key may come again: the last one holds."""

    def add_tags(self, tags: Sequence[str]) -> None:
        """Add tags to those that the run has."""

    def log_media(self, media: MediaFile) -> None:
        """Store a media file at its step in its own kind, or as a plain file if the service lacks that kind."""

    def log_artifact(self, artifact: ArtifactFile) -> None:
        """Store a file or a folder. A name may come again: it is a new version, or it replaces the first."""

    def measure(self, final: bool) -> Mapping[str, Number]:
        """Return the measurements since the run began; called only if `measures`. Empty if there is nothing new.

        The names begin with the tracker's own. `<name>/measured_s` is the seconds that were measured, over all sessions
        and restarts; with it, less than half of a training is never reported as the whole. `read` returns the same
        values, as points whose steps count the measurements.
        """
        return {}

    def flush(self) -> None:
        """Make logged records visible to `read`, as far as the service can.

        Called after each batch, so it must be cheap.
        """

    def leave(self) -> None:
        """Let another process continue the open run: return when the service has what was logged.

        Called instead of `finish` by a delivery that ends before the run does, such as `runcast sync` of a run that
        trains elsewhere.
        """

    def finish(self, ending: Ending) -> None:
        """Close the run with its status, in the service's own word, and with the time at which the training ended.

        Does nothing when called again or without `setup`.
        """

    def explain(self, error: Exception) -> TrackerError | None:
        """Return what an exception means: whether the call may succeed later; None leaves it unknown.

        An unknown one is tried again a few times, and then final. The base knows those of the system: a file that is
        missing or in the way is final, and so is a name that is too long; a full disk, a timeout or a lost connection
        may pass.
        """
        if not isinstance(error, OSError) or is_about_content(error):
            return None
        if error.errno in FULL:
            return RetryableError(f"{self.name}: {error}. Make room there, then: runcast sync")
        is_final = isinstance(error, FILE_ERRORS) or error.errno == errno.ENAMETOOLONG
        return (FinalError if is_final else RetryableError)(f"{self.name}: {error}")

    def exists(self, run: TrackedRun) -> bool | None:
        """Return whether the service still has the run; None if it cannot be asked.

        Called before the `setup` of a run that is resumed: False has it recreated. Then `run.resumed` is false,
        `run.generation` counts on, `run.replaces` is the old identifier, and those of `identities` are forgotten.
        """
        return None

    def read(self, run: TrackedRun) -> Reading:
        """Read the run back with the service's own reader, in a process of its own, also while the run is open."""
        raise NotImplementedError

    def find_runs(self, place: str, folder: Path) -> Iterable[TrackedRun]:
        """Yield the runs that a place holds, a path or an address, for `runcast import`, each for `read`.

        See `tracked_run.found_run`. A run that other code wrote is `foreign`. *folder* is empty: `read` may put files
        into it that it names in `Reading.contents`. The place is only read.
        """
        raise FinalError(f"{self.name} cannot be imported from.")


def _changed(kind: type[Tracker]) -> list[str]:
    """Return which methods of a Tracker cannot be called as the contract says, with both signatures."""
    changed = []
    for name, promised in inspect.getmembers(Tracker, inspect.isfunction):
        own = getattr(kind, name)
        if name.startswith("_") or own is promised or not inspect.isfunction(own):
            continue
        arguments = inspect.signature(own)
        try:
            arguments.bind(*inspect.signature(promised).parameters)
            is_old = OLD_ARGUMENTS.get(name) in arguments.parameters
        except TypeError:
            is_old = True
        if is_old:
            changed.append(f"{_shown(own)} is now {_shown(promised)}")
    return changed


def _shown(method: Any) -> str:
    return f"{method.__name__}({', '.join(inspect.signature(method).parameters)})"


__all__ = [
    "ALL_KINDS",
    "ArtifactFile",
    "Ending",
    "Kind",
    "MediaFile",
    "NameRule",
    "Number",
    "ParamValue",
    "PathRule",
    "Point",
    "Reading",
    "Status",
    "TrackedRun",
    "Tracker",
]
