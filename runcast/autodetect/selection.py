"""`report_to` becomes decisions: which trackers take part, online or local, and why the others do not."""

import os
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any, TypeAlias

import msgspec

from runcast.autodetect.credentials import configured, switched
from runcast.autodetect.installed import Installed, has_package, is_older, lacks_part, normalise, scan
from runcast.core.errors import OptionError, TrackerUnavailableError, UnknownTrackerError
from runcast.core.layout import TrackerChoice, valid_tracker
from runcast.integrations.contract import Tracker
from runcast.integrations.table import ALIASES, TABLE, Address, Integration

ReportTo: TypeAlias = (
    "str | bool | None | Tracker | type[Tracker] | Iterable[str | Tracker | type[Tracker]] | EllipsisType"
)


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """Says of one tracker whether it can be used here, and how; `problem` and `mend` are empty when it can."""

    row: Integration
    version: str | None
    online: bool
    reason: str
    problem: str = ""
    mend: str = ""
    off: bool = False


class Selection(msgspec.Struct):
    """Holds the decisions.

    The chosen trackers, the skipped ones with a reason, and Tracker objects to be run in a thread.
    """

    chosen: dict[str, TrackerChoice] = {}
    skipped: dict[str, str] = {}
    objects: dict[str, Tracker] = {}

    def skip_objects(self) -> None:
        """Leave out the Tracker objects, which live no longer than this process, and keep the reason."""
        for name in self.objects:
            self.skipped[name] = (
                "was given as an object, and delivery='later' needs one that another process can make. Give its class, "
                "from a module that can be imported."
            )
        self.objects = {}


def survey(
    names: Iterable[str] | None = None, offline: bool | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Survey]:
    """Look at every known tracker (or those named) without importing any."""
    installed = scan()
    rows = _rows(installed) if names is None else {name: _rows(installed)[name] for name in names}
    return {name: _look_at(row, installed, offline, environ) for name, row in rows.items()}


def select(
    report_to: ReportTo = ...,
    *,
    offline: bool | None = None,
    setup: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Selection:
    """Decide which trackers a run casts to.

    Args:
        report_to: None, "", "none", False or an empty collection: none. "all": every tracker that is installed and
            usable. A name, a comma list, a Tracker instance or class, or a collection of them. Not given, or
            "default" (which a configuration file can hold): RUNCAST_REPORT_TO, else "all".
        offline: True: local modes only. False: online only. None: online where credentials are configured.
        setup: The options of `init`; its keys must be known names.
        environ: The environment to read.

    Raises:
        UnknownTrackerError: A name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used.
    """
    if isinstance(report_to, str) and report_to.strip().lower() == "default":
        report_to = ...
    words, objects = _split(environ.get("RUNCAST_REPORT_TO") or "all" if report_to is ... else report_to)
    selection = Selection()
    if words or setup:
        installed = scan()
        rows = _rows(installed)
        asked = {_canonical(word, rows) for word in words if word != "all"}
        for name in setup or {}:
            if name not in (getattr(item, "name", None) for item in objects):
                _canonical(name, rows)
        for name in rows if "all" in words else sorted(asked, key=list(rows).index):
            _decide(
                selection,
                _look_at(rows[name], installed, offline, _with_options(rows[name], setup or {}, environ)),
                by_name=name in asked,
                asked_with=report_to,
            )
    for item in objects:
        _add_object(selection, item)
    return selection


def canonical_name(word: str) -> str:
    """Return the table's name for a tracker as a user wrote it.

    Raises:
        UnknownTrackerError: There is no such tracker.
    """
    return _canonical(word.strip().lower(), _rows(scan()))


def decide(name: str, offline: bool | None = None, environ: Mapping[str, str] = os.environ) -> TrackerChoice:
    """Decide how one tracker takes part, here and now.

    Raises:
        UnknownTrackerError: There is no such tracker.
        TrackerUnavailableError: It cannot be used here, or is switched off; the message says why and how to mend it.
    """
    installed = scan()
    rows = _rows(installed)
    seen = _look_at(rows[_canonical(name, rows)], installed, offline, environ)
    if seen.off:
        raise TrackerUnavailableError(f"{seen.row.name} is {seen.reason}.")
    if seen.problem:
        raise TrackerUnavailableError(f"{seen.row.name} {seen.problem}. {seen.mend}".strip())
    return _choice(seen)


def _choice(seen: Survey) -> TrackerChoice:
    return TrackerChoice(
        tracker=seen.row.tracker,
        online=seen.online,
        reason=seen.reason,
        version=seen.version,
        environment={**seen.row.environment, **({} if seen.online else seen.row.offline_environment)},
        measures=seen.row.measures,
    )


def _decide(selection: Selection, seen: Survey, *, by_name: bool, asked_with: object) -> None:
    name = seen.row.name
    if seen.off:
        selection.skipped[name] = seen.reason
    elif not seen.problem:
        selection.chosen[name] = _choice(seen)
    elif by_name:
        asked = "RUNCAST_REPORT_TO" if asked_with is ... else f"report_to={asked_with!r}"
        raise TrackerUnavailableError(f"{name} {seen.problem}. You asked for it with {asked}. {seen.mend}")
    else:
        selection.skipped[name] = f"{seen.problem}. {seen.mend}"


def _look_at(row: Integration, installed: Installed, offline: bool | None, environ: Mapping[str, str]) -> Survey:
    version = installed.version(row.distribution, *row.alternatives)
    install = (
        f"Install it with: pip install 'runcast[{row.name}]'"
        if row.name in TABLE
        else f"Install {row.distribution} again."
    )
    if version is None:
        return Survey(row=row, version=None, online=False, reason="", problem="is not installed", mend=install)
    if is_older(version, row.minimum):
        problem = f"{version} is too old, {row.minimum} or newer is needed"
        return Survey(
            row=row,
            version=version,
            online=False,
            reason="",
            problem=problem,
            mend=f"Upgrade it with: pip install -U {row.distribution}",
        )
    if not has_package(row.package):
        problem = (
            f"is broken: {row.distribution} {version} is listed as installed, but there is no package {row.package}"
        )
        return Survey(
            row=row,
            version=version,
            online=False,
            reason="",
            problem=problem,
            mend=f"Mend it with: pip install --force-reinstall {row.distribution}",
        )
    if problem := _incomplete(row, installed):
        mend = f"Mend it with: pip install --force-reinstall {row.distribution}"
        return Survey(row=row, version=version, online=False, reason="", problem=problem, mend=mend)
    if off := switched(row.off, environ):
        return Survey(row=row, version=version, online=False, reason=f"switched off by {off}", off=True)
    seen = _choose_mode(row, version, offline, environ)
    missing = [need for need in row.local_needs if not installed.has(need)]
    if missing and not (seen.online or seen.problem or _keeps_files(row, environ)):
        problem = f"cannot keep runs locally: {' and '.join(missing)} {_are(missing)} not installed"
        mend = f"Install the rest with: pip install {row.distribution}"
        mend += f" (or report to a server: {row.log_in})" if row.log_in else ""
        return msgspec.structs.replace(seen, reason="", problem=problem, mend=mend)
    return seen


def _with_options(
    row: Integration, setup: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]
) -> Mapping[str, str]:
    """Put the addresses and switches that the user's options hold over those of the environment."""
    own = setup.get(row.name, {})
    addresses = {where.option: where.name for where in row.credentials if isinstance(where, Address)}
    variables = {
        option: name for option, name in (addresses | dict(row.switches)).items() if own.get(option) not in (None, "")
    }
    return {**environ, **{name: str(own[option]) for option, name in variables.items()}} if variables else environ


def _incomplete(row: Integration, installed: Installed) -> str:
    """Say what an SDK lacks so that it cannot be imported, as far as that is seen without importing it."""
    missing = [need for need in row.needs if not installed.has(need)]
    if missing:  # which of them matter, the metadata of this version say
        required = installed.required(row.distribution, *row.alternatives)
        missing = [name for need in missing if normalise(name := need.partition(":")[0]) in required]
    if missing:
        return f"is broken: it requires {', '.join(missing)}, which {_are(missing)} not installed"
    part = lacks_part(row.package, row.parts)
    return f"is broken: its {part} is missing" if part else ""


def _keeps_files(row: Integration, environ: Mapping[str, str]) -> bool:
    """Tell whether a tracker is sent to a folder of plain files, which needs no database."""
    addresses = (environ.get(where.name, "") for where in row.credentials if isinstance(where, Address))
    return any(address.startswith("file:") or (address and ":" not in address) for address in addresses)


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _choose_mode(row: Integration, version: str, offline: bool | None, environ: Mapping[str, str]) -> Survey:
    where = configured(row, environ)
    local = switched(row.offline, environ)
    log_in = f"Log in with: {row.log_in}" if row.log_in else ""
    if not row.credentials and row.local:
        return Survey(row=row, version=version, online=False, reason="always local")
    if offline or (local and offline is None) or (where is None and offline is None):
        reason = "offline=True" if offline else local or "no credentials"
        problem = "" if row.local else f"has no local mode ({reason})"
        return Survey(row=row, version=version, online=False, reason=reason, problem=problem, mend=log_in)
    if where is None:
        return Survey(
            row=row,
            version=version,
            online=False,
            reason="",
            problem="is not configured, and offline=False asks for online",
            mend=log_in,
        )
    return Survey(row=row, version=version, online=True, reason=f"credentials from {where}")


def _rows(installed: Installed) -> dict[str, Integration]:
    rows = dict(TABLE)
    for name, (target, distribution) in installed.entry_points().items():
        rows.setdefault(
            name.lower(),
            Integration(
                name=name.lower(),
                title=name,
                tracker=target,
                distribution=distribution.name,
                package=target.split(":")[0].split(".")[0],
                minimum="0",
                tested=distribution.version,
                open_command="",
            ),
        )
    return rows


def _split(report_to: ReportTo) -> tuple[list[str], list[Tracker | type[Tracker]]]:
    """Separate names from Tracker objects; an empty result means off."""
    if report_to is None or report_to is False:
        return [], []
    if report_to is True:
        return ["all"], []
    words: list[str] = []
    objects: list[Tracker | type[Tracker]] = []
    items: Iterable[Any] = [report_to] if isinstance(report_to, str | Tracker | type) else report_to  # type: ignore[assignment]
    if not isinstance(items, Iterable):
        raise OptionError(
            f"report_to={report_to!r} is no tracker. Use names such as ['wandb', 'mlflow'], 'all' or 'none'."
        )
    for item in items:
        if isinstance(item, str):
            words += [word for part in item.split(",") if (word := part.strip().lower())]
        elif isinstance(item, Tracker) or (isinstance(item, type) and issubclass(item, Tracker)):
            objects.append(item)
        elif item is not None:
            raise OptionError(f"report_to holds {item!r}, which is neither a tracker's name nor a runcast.Tracker.")
    if "none" in words:
        if len(set(words)) > 1 or objects:
            raise OptionError(f"report_to={report_to!r} says both 'none' and something else. Leave one of them out.")
        return [], []
    return words, objects


def _canonical(word: str, rows: Mapping[str, Integration]) -> str:
    name = ALIASES.get(word, word)
    if name in rows:
        return name
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(word, [*rows, *ALIASES], n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownTrackerError(
        f"There is no tracker {word!r}.{hint} Valid names are: {', '.join([*rows, 'all', 'none'])}."
    )


def _add_object(selection: Selection, item: Tracker | type[Tracker]) -> None:
    kind = item if isinstance(item, type) else type(item)
    name = getattr(kind, "name", None) or kind.__name__.lower()
    if not valid_tracker(name):
        raise OptionError(f"{kind.__qualname__}.name = {name!r} cannot name a tracker: it names a folder, too.")
    if name in selection.chosen or name in selection.objects:
        return
    if isinstance(item, type) and kind.__module__ != "__main__" and "<" not in kind.__qualname__:
        target = f"{kind.__module__}:{kind.__qualname__}"
        selection.chosen[name] = TrackerChoice(
            tracker=target, online=False, reason="given as a class", measures=kind.measures
        )
    else:
        selection.objects[name] = item() if isinstance(item, type) else item
