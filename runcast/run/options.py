"""The options of `init`: argument over environment over default, checked once."""

import os
import sys
from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any, TypedDict

import msgspec

if sys.version_info >= (3, 11):
    from typing import Unpack as Unpack
else:
    from typing_extensions import Unpack as Unpack  # typer depends on it

from runcast.core.errors import OptionError
from runcast.core.foreign import attempt
from runcast.journal.layout import valid_id
from runcast.journal.paths import absolute, interpreter
from runcast.redaction.console import warn
from runcast.values.scalars import FALSE, TRUE, without_surrogates
from runcast.values.settings import as_seconds, seconds

NOTHING = ("", "none", "no", "off", "false")  # a choice of trackers
RESUMES = ("never", "allow", "must")
FINISHES = WAIT, BACKGROUND = "wait", "background"
WEBHOOK_VARIABLE = "RUNCAST_WEBHOOK"
FINISH_VARIABLE, FINISH_S = "RUNCAST_FINISH_TIMEOUT_S", 60.0
DELIVERIES = ("process", "thread", "later")
SNAPSHOT = "snapshot"  # what its params begin with, its artifact's name, and the artifact's kind
PARTS, USUAL_PARTS = ("git", "diff", "packages", "hardware"), ("git", "hardware")


class RunOptions(TypedDict, total=False):
    """The arguments of `runcast.init` that every adapter takes besides `report_to` and `project`.

    Attributes:
        name: A name for people. Default: two words and a number.
        config: The configuration: anything with names and values (dict, dataclass, Namespace, OmegaConf …).
            Secrets are redacted.
        dir: The folder that holds the runs. Default: "runs".
        id: The run's id, for resuming it. Default: the time and four random digits.
        resume: "never" (the default): an existing id is an error. "allow": resume the run if it exists. "must": it has
            to exist.
        group: A group of runs, in the trackers that support groups.
        tags: Words for finding the run.
        notes: A longer text about the run.
        offline: True: local modes only. False: online only. Default: online where the user has configured credentials.
        strict: Whether a tracker that fails for good makes a `log` raise, within about a second. Default: False.
        delivery: "process" (the default): a child process per tracker. "thread": a thread per tracker in this process,
            the default in a program without an interpreter of its own. "later": nothing until `runcast sync`.
        setup: Options for each tracker's SDK, as passed to it by hand: {"wandb": {"entity": "team"}}.
        per_rank: Whether to keep the metrics of every rank of a job: rank 0's under their own names, rank 3's under
            "rank3/…". Default: False: the other ranks log nothing.
        axes: The x-axes of metrics that have another than the step: {"val/*": "epoch"}, where "epoch" is a metric that
            is logged in the same call. Native where a service has x-axes; elsewhere it is a metric beside them.
        snapshot: What to keep of the state that the run was made from: "git" (commit, branch, remote) and "hardware",
            both by default, as params under "snapshot/"; "diff" (to the commit) and "packages" as the files of one
            artifact. Secrets are redacted. () or "none": nothing.
    """

    name: str | None
    config: Any
    dir: str | os.PathLike[str] | None
    id: str | None
    resume: str | bool | None
    group: str | None
    tags: Iterable[str]
    notes: str | None
    offline: bool | None
    strict: bool | None
    delivery: str | None
    setup: Mapping[str, Mapping[str, Any]] | None
    per_rank: bool | None
    axes: Mapping[str, str] | None
    snapshot: str | Iterable[str] | None


OF_ADAPTERS = ("project", *RunOptions.__annotations__)  # the names of all arguments that every adapter takes


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The resolved options of one run; `given` names those that came from an argument or a RUNCAST_ variable."""

    project: str
    name: str | None
    dir: Path
    id: str | None
    resume: str
    group: str | None
    tags: tuple[str, ...]
    notes: str | None
    offline: bool | None
    strict: bool
    per_rank: bool
    delivery: str
    setup: Mapping[str, Mapping[str, Any]]
    axes: Mapping[str, str]
    snapshot: tuple[str, ...]
    given: frozenset[str]


def settle(arguments: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Options:
    """Resolve each option from the arguments of `init`, the environment and the defaults.

    Raises:
        OptionError: A value is wrong; the message names the option and its valid values.
    """
    chosen = {}
    for name, variable in _VARIABLES.items():
        value = arguments.get(name)
        if value is None or (name == "tags" and isinstance(value, Sized) and not len(value)):
            value = environ.get(variable) or None
        if value is not None:
            chosen[name] = value
    seconds(FINISH_VARIABLE, 0.0, environ)  # a wrong one is reported now, not when the run ends
    _one_of("RUNCAST_FINISH", environ.get("RUNCAST_FINISH") or WAIT, FINISHES)
    given = frozenset(chosen)
    run_id = chosen.get("id")
    if run_id is not None and not valid_id(str(run_id)):
        raise OptionError(
            f"id={run_id!r} cannot name a run: use 1 to 64 letters, digits, '-' and '_', which every tracker "
            "and file system accepts."
        )
    setup = {} if arguments.get("setup") is None else arguments["setup"]
    if not isinstance(setup, Mapping) or not all(
        isinstance(name, str) and isinstance(own, Mapping) for name, own in setup.items()
    ):
        raise OptionError('setup must map a tracker to its options, such as setup={"wandb": {"entity": "team"}}.')
    axes = {} if arguments.get("axes") is None else arguments["axes"]
    if not isinstance(axes, Mapping) or not all(isinstance(word, str) for pair in axes.items() for word in pair):
        raise OptionError('axes must map metrics to the metric that is their x-axis, as in axes={"val/*": "epoch"}.')
    return Options(
        project=without_surrogates(str(chosen.get("project") or _started_in().name or "runcast")),
        name=_text(chosen.get("name")),
        dir=_folder(chosen.get("dir", "runs")),
        id=_text(run_id),
        resume=_one_of("resume", chosen.get("resume", "never"), RESUMES),
        group=_text(chosen.get("group")),
        tags=tuple(dict.fromkeys(without_surrogates(word) for word in _words(chosen.get("tags", ())) if word)),
        notes=_text(chosen.get("notes")),
        offline=_flag("offline", chosen.get("offline")),
        strict=bool(_flag("strict", chosen.get("strict"))),
        per_rank=bool(_flag("per_rank", chosen.get("per_rank"))),
        delivery=_one_of("delivery", chosen.get("delivery", "process" if interpreter() else "thread"), DELIVERIES),
        setup=_by_tracker(setup),
        axes=axes,
        snapshot=_parts(chosen.get("snapshot", USUAL_PARTS)),
        given=given,
    )


_VARIABLES = {
    "project": "RUNCAST_PROJECT",
    "name": "RUNCAST_NAME",
    "dir": "RUNCAST_DIR",
    "id": "RUNCAST_RUN_ID",
    "resume": "RUNCAST_RESUME",
    "group": "RUNCAST_GROUP",
    "tags": "RUNCAST_TAGS",
    "notes": "RUNCAST_NOTES",
    "offline": "RUNCAST_OFFLINE",
    "strict": "RUNCAST_STRICT",
    "per_rank": "RUNCAST_PER_RANK",
    "delivery": "RUNCAST_DELIVERY",
    "snapshot": "RUNCAST_SNAPSHOT",
}


def finish_timeout_s(given: Any) -> float:
    """Return how long `finish` waits; a wrong value is reported, not raised, because the run is ending."""
    if given is None and os.environ.get("RUNCAST_FINISH", WAIT).lower() == BACKGROUND:
        return 0.0
    try:
        return seconds(FINISH_VARIABLE, FINISH_S) if given is None else as_seconds("timeout_s", given)
    except OptionError as error:
        warn(f"{error} {FINISH_S:g} s are used.")
        return FINISH_S


def reports_nothing(report_to: Any) -> bool:
    """Return whether a choice of trackers means none; `...`, the default, does not."""
    choice = _single(report_to)
    return choice is not ... and (not choice or str(choice).lower() in NOTHING)


def means_all(report_to: Any) -> bool:
    """Return whether a choice of trackers is the default, or all."""
    choice = _single(report_to)
    return choice is ... or str(choice).strip().lower() in ("all", "default")


def _single(report_to: Any) -> Any:
    is_list = isinstance(report_to, list | tuple | set | frozenset)
    return next(iter(report_to)) if is_list and len(report_to) == 1 else report_to


def _started_in() -> Path:
    """Return the folder in which the script was started: Hydra may give each job a working directory of its own."""
    hydra = sys.modules.get("hydra.core.hydra_config")
    return attempt(lambda: Path(hydra.HydraConfig.get().runtime.cwd), lambda _: absolute("."))  # type: ignore[union-attr]


def _folder(value: Any) -> Path:
    """Return the absolute path of the folder of the runs."""
    try:
        return absolute(Path(value).expanduser())
    except (RuntimeError, TypeError, ValueError) as error:  # no home, no path
        raise OptionError(f"dir={value!r} cannot name a folder ({error}). Choose another path.") from None


def _by_tracker(setup: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the options of each tracker under its name in the table, as in `report_to`: a user may write an alias."""
    if not setup:
        return {}
    from runcast.integrations.table import row_named  # rarely needed, and start-up counts

    found: dict[str, Mapping[str, Any]] = {}
    for name, own in setup.items():
        name = row.name if (row := row_named(name)) is not None else name
        found[name] = {**found.get(name, {}), **own}
    return found


def _words(value: Any) -> list[str]:
    """Return what is given as a comma list, as a collection or as one word."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, Iterable) else (value,)
    return [str(part).strip() for part in parts]


def _text(value: Any) -> str | None:
    return None if value is None else without_surrogates(str(value))


def _one_of(name: str, value: Any, valid: tuple[str, ...]) -> str:
    word = str(value).lower()
    if name == "resume":  # a flag in other libraries
        word = "allow" if word in TRUE else "never" if word in (*FALSE, "") else word
    if word not in valid:
        raise OptionError(f"{name}={value!r} is unknown. Valid values are: {', '.join(valid)}.")
    return word


def _parts(value: Any) -> tuple[str, ...]:
    """Return the parts of a snapshot, in their order."""
    wanted = {word.lower() for word in _words(value)}
    if wanted <= set(NOTHING):
        return ()
    if unknown := sorted(wanted - set(PARTS)):
        raise OptionError(f"snapshot={unknown[0]!r} is unknown. Valid parts are: {', '.join(PARTS)}.")
    return tuple(part for part in PARTS if part in wanted)


def _flag(name: str, value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if str(value).lower() in TRUE:
        return True
    if str(value).lower() in (*FALSE, ""):
        return False
    raise OptionError(f"{name}={value!r} is neither true nor false.")
