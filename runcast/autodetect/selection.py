"""From `report_to` to decisions: which trackers take part, online or local, and why the others do not."""

import os
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any, TypeAlias

import msgspec

from runcast.autodetect.installed import Installed, scan
from runcast.autodetect.usable import Survey, look_at, obituary, with_options
from runcast.core.errors import OptionError, TrackerUnavailableError, UnknownTrackerError
from runcast.integrations.contract import Tracker
from runcast.integrations.table import ALIASES, ENDED, TABLE, Integration
from runcast.journal.layout import TrackerChoice, valid_tracker

ReportTo: TypeAlias = (
    "str | bool | None | Tracker | type[Tracker] | Iterable[str | Tracker | type[Tracker]] | EllipsisType"
)


class Selection(msgspec.Struct):
    """The trackers chosen for a run, and those skipped.

    Holds the chosen trackers, the skipped ones with a reason, Tracker objects to run in a thread, and the names of
    those skipped although they were asked for.
    """

    chosen: dict[str, TrackerChoice] = {}
    skipped: dict[str, str] = {}
    objects: dict[str, Tracker] = {}
    missed: list[str] = []

    def given(self) -> dict[str, TrackerChoice]:
        """Return the parts that the Tracker objects take; no other process can make them."""
        return {
            name: TrackerChoice(tracker="", online=False, reason="given by the script", measures=tracker.measures)
            for name, tracker in self.objects.items()
        }

    def remarks(self) -> list[str]:
        """Return a sentence on each tracker that was asked for and is skipped."""
        return [f"without {name}: {why_not(self.skipped[name])}" for name in self.missed]

    def skip_objects(self) -> None:
        """Skip the Tracker objects, which cannot outlive this process, and keep the reason."""
        for name in self.objects:
            self.missed.append(name)
            self.skipped[name] = (
                "was given as an object, and delivery='later' needs a class that another process can import. "
                "Pass its class."
            )
        self.objects = {}


def why_not(reason: str) -> str:
    """Return the reason for which a tracker is skipped as a sentence about it."""
    return reason if reason.startswith("switched") else f"it {reason}"


def survey(
    names: Iterable[str] | None = None, offline: bool | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Survey]:
    """Examine every known tracker, or the named ones, without importing any."""
    installed = scan()
    rows = _rows(installed) if names is None else {name: _rows(installed)[name] for name in names}
    return {name: look_at(row, installed, offline, environ) for name, row in rows.items()}


def select(
    report_to: ReportTo = ...,
    *,
    offline: bool | None = None,
    setup: Mapping[str, Mapping[str, Any]] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Selection:
    """Decide which trackers a run reports to.

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
        are_known = all(ALIASES.get(word, word) in TABLE for word in (*words, *(setup or {})))
        rows = TABLE if are_known else _rows(installed)
        asked = {_canonical(word, rows) for word in words if word != "all"}
        for name in setup or {}:
            if name not in (getattr(item, "name", None) for item in objects):
                _canonical(name, rows)
        for name in rows if "all" in words else sorted(asked, key=list(rows).index):
            _decide(
                selection,
                look_at(rows[name], installed, offline, with_options(rows[name], setup or {}, environ)),
                by_name=name in asked,
                asked_with=report_to,
            )
        _leave_out_doubles(selection, {name: rows[name] for name in selection.chosen if name not in asked})
    for item in objects:
        _add_object(selection, item)
    return selection


def canonical_name(word: str) -> str:
    """Return the table's name for a tracker as a user wrote it on the command line: the beginning is enough.

    Raises:
        UnknownTrackerError: There is no such tracker.
    """
    rows, word = _rows(scan()), word.strip().lower()
    begun = [name for name in rows if word and name.startswith(word)]
    return begun[0] if len(begun) == 1 and word not in ALIASES else _canonical(word, rows)


def decide(name: str, offline: bool | None = None) -> TrackerChoice:
    """Decide how one tracker takes part, here and now.

    Raises:
        UnknownTrackerError: There is no such tracker.
        TrackerUnavailableError: It cannot be used here, or is switched off; the message says why and how to fix it.
    """
    installed = scan()
    rows = _rows(installed)
    seen = look_at(rows[_canonical(name, rows)], installed, offline, os.environ)
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
        if by_name:
            selection.missed.append(name)
    elif not seen.problem:
        selection.chosen[name] = _choice(seen)
    elif by_name:
        asked = "RUNCAST_REPORT_TO" if asked_with is ... else f"report_to={asked_with!r}"
        raise TrackerUnavailableError(f"{name} {seen.problem}. You asked for it with {asked}. {seen.mend}")
    else:
        selection.skipped[name] = f"{seen.problem}. {seen.mend}"


def _leave_out_doubles(selection: Selection, unasked: Mapping[str, Integration]) -> None:
    """Let the more special of two trackers speak for both, where "all" would write a run to one server twice."""
    for row in unasked.values():
        if row.over in unasked and selection.chosen[row.name].reason == selection.chosen[row.over].reason:
            del selection.chosen[row.over]
            selection.skipped[row.over] = f"{row.name} writes to the same server"


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
            f"report_to={report_to!r} is not a tracker. Use names such as ['wandb', 'mlflow'], 'all' or 'none'."
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
    if name in ENDED:
        raise TrackerUnavailableError(f"{name}: {obituary(ENDED[name])}")
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
        raise OptionError(
            f"{kind.__qualname__}.name = {name!r} cannot name a tracker, because it cannot name a folder."
        )
    if name in selection.chosen or name in selection.objects:
        return
    if isinstance(item, type) and kind.__module__ != "__main__" and "<" not in kind.__qualname__:
        target = f"{kind.__module__}:{kind.__qualname__}"
        selection.chosen[name] = TrackerChoice(
            tracker=target, online=False, reason="given as a class", measures=kind.measures
        )
    else:
        selection.objects[name] = item() if isinstance(item, type) else item
