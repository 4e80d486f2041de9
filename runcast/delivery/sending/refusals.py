"""Refused values: counted by kind and reason, with some of their names, and reported once."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from runcast.delivery.sending.narrowing import same_reason
from runcast.integrations.contract import Reading
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import argument
from runcast.journal.state import DeliveryState, is_over
from runcast.redaction.console import counted, warn
from runcast.redaction.tree import redact_text

NAMES = 5
REASONS = 50  # for one tracker; a service may give each value a reason of its own
REASON_CHARS = 300
UNSUPPORTED = "not supported by this tracker"
NOUNS = {
    "point": ("point", "points"),
    "points": ("point", "points"),
    "artifact": ("artifact", "artifacts"),
    "artifacts": ("artifact", "artifacts"),
    "params": ("param", "params"),
    "tags": ("tag", "tags"),
    "summary": ("summary value", "summary values"),
    "media": ("media file", "media files"),
}
FIXES = {
    "params": "Shorten it, or log it with run.log_artifact.",
    "summary": "Shorten it, or log it with run.log_artifact.",
    "tags": "Choose another tag.",
    "media": "Log the file with run.log_artifact to keep it there.",
}

Refuse: TypeAlias = Callable[[str, Sequence[str]], None]  # called with a reason and the refused names

log = logging.getLogger("runcast.delivery")


class Refusals:
    """The refusals of one delivery, kept in its state."""

    def __init__(self, tracker: str, state: DeliveryState) -> None:
        self._tracker, self._state = tracker, state
        self._known = {same_reason(reason): reason for reason in state.refused}

    def count(self, reason: str, names: Sequence[str]) -> None:
        """Count the names refused for a reason, which begins with their kind."""
        state, reason = self._state, redact_text(reason)[:REASON_CHARS]
        known = self._known.get(same_reason(reason))
        if known is None and len(self._known) >= REASONS:
            known = self._known.setdefault("", f"{kind_of(reason)}: other reasons, see delivery.log")
        if known is None or known not in state.refused:
            log.warning("%s refuses %s", self._tracker, reason)
        known = known or self._known.setdefault(same_reason(reason), reason)
        state.refused[known] = state.refused.get(known, 0) + len(names)
        keys = {name: key for key, name in state.renamed.items()}
        some = [*state.refused_names.get(known, ()), *(redact_text(keys.get(name, name))[:60] for name in names[:1000])]
        state.refused_names[known] = list(dict.fromkeys(some))[:NAMES]

    def forget(self, *kinds: str) -> None:
        """Reset the counts of some kinds."""
        for reason in [reason for reason in self._state.refused if kind_of(reason) in kinds]:
            del self._state.refused[reason]
            self._state.refused_names.pop(reason, None)

    def forget_files(self, reading: Reading) -> None:
        """Reset the counts of files that will be sent again, if the tracker can tell which ones it has."""
        found = {"media": reading.media, "artifact": reading.artifacts}
        self.forget(*(kind for kind, names in found.items() if names is not None))


def unsupported(kind: str) -> str:
    """Return the reason for refusing records of a kind that a tracker has no method for."""
    return f"{kind}: {UNSUPPORTED}"


def kind_of(reason: str) -> str:
    """Return the kind named in a reason, such as "point" or "params"."""
    return reason.partition(": ")[0]


def is_unsupported(reason: str) -> bool:
    """Return whether a reason says that the tracker has no method for the kind."""
    return reason.endswith(UNSUPPORTED)


def refusals(state: DeliveryState) -> dict[str, int]:
    """Return the refusals of kinds that a tracker supports."""
    return {reason: count for reason, count in state.refused.items() if not is_unsupported(reason)}


def count_refused(state: DeliveryState, kind: str) -> int:
    """Return how many values of a kind were refused, for whatever reason."""
    return sum(count for reason, count in state.refused.items() if kind_of(reason) == kind)


def is_delivered(state: DeliveryState, session: int, end: int) -> bool:
    """Return whether a tracker has closed a session and has all of its records, up to an offset of the journal.

    Records of unsupported kinds do not count.
    """
    is_closed = state.phase == "finished" or state.session > session
    return is_over(state, session) and is_closed and state.cursor >= end and not refusals(state)


def described(state: DeliveryState, reason: str) -> str:
    """Return a sentence about what was refused and why, and what can be done about it."""
    kind, _, why = reason.partition(": ")
    names, count = state.refused_names.get(reason, []), state.refused[reason]
    some = ", ".join(map(repr, names)) + (" …" if count > len(names) else "")
    return (
        f"{counted(count, *NOUNS.get(kind, (kind, kind)))} ({some}): {why.rstrip('.')}. {FIXES.get(kind, '')}".rstrip()
    )


def refused_values(reason: str, count: int) -> str:
    """Return how many values of which kind were refused, and why: "1 artifact: not supported by this tracker"."""
    kind, _, why = reason.partition(": ")
    return f"{counted(count, *NOUNS.get(kind, (kind, kind)))}: {'' if is_unsupported(reason) else 'refused, '}{why}"


def report(tracker: str, state: DeliveryState, directory: RunDirectory, reported: set[str]) -> None:
    """Report each reason that is not among those *reported*."""
    for reason in refusals(state):
        if reason not in reported:
            reported.add(reason)
            warn(
                f"{tracker} refused {described(state, reason)} Training continues, and the journal keeps it. "
                f"Once the cause is fixed, run: runcast sync {argument(directory.path)}"
            )
