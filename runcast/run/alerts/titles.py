"""The levels and titles of alerts, and how often one of a title is let through."""

from typing import Any

from runcast.values.scalars import without_surrogates

PAUSE_S = 60.0  # between two of one title
TITLES, TITLE_CHARS = 1000, 200
LEVELS = {"info": "info", "warn": "warn", "warning": "warn", "error": "error"}


class Pauses:
    """The titles of recent alerts, and how many of each were held back since."""

    def __init__(self) -> None:
        self._recent: dict[str, tuple[float, int]] = {}

    def note(self, title: str, now: float) -> int | None:
        """Return how many alerts of this title were held back since the last one; None if this one is, too.

        Args:
            title: What tells one kind of alert from another.
            now: Seconds of a clock that never goes back.
        """
        at, held = self._recent.get(title, (now - PAUSE_S, 0))
        if now - at < PAUSE_S:
            self._recent[title] = at, held + 1
            return None
        if len(self._recent) >= TITLES:
            self._recent.clear()
        self._recent[title] = now, 0
        return held


def level_of(given: Any) -> str | None:
    """Return the level that a word or another SDK's enum means; None if it is no level."""
    return LEVELS.get(str(given).rpartition(".")[2].lower())


def one_line(text: Any) -> str:
    """Return a title: one line, not too long."""
    return " ".join(without_surrogates(str(text)).split())[:TITLE_CHARS]
