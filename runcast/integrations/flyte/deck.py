"""A Deck in the process of the task, whose content a delivery writes meanwhile."""

import contextlib
import os
from pathlib import Path
from typing import Any

from flytekit.deck.deck import Deck

from runcast.integrations.flyte.page import with_links
from runcast.redaction.console import warn

NAME = "runcast"


class RunDeck(Deck):  # type: ignore[misc]
    """The Deck of one run: read when Flyte asks for it, as Flyte's own Deck of times is."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._path = path

    @property
    def html(self) -> str:
        """Return what the delivery has written so far."""
        with contextlib.suppress(OSError):
            return with_links(self._path.read_text(encoding="utf-8"))
        return "<p>Nothing of the run has been delivered yet.</p>"


def add_deck(context: Any) -> dict[str, str]:
    """Add a Deck to a task; return the options with which a delivery writes to it and keeps files for the task."""
    if not getattr(context, "enable_deck", True):  # older versions have no such word
        warn("Flyte shows no Deck of this task, as it is not asked to. Give it @flytekit.task(enable_deck=True).")
    number = sum(deck.name.startswith(NAME) for deck in context.decks) + 1
    folder = str(getattr(context.working_directory, "name", context.working_directory))
    path = Path(folder, f"runcast-deck-{os.urandom(4).hex()}.html")
    RunDeck(NAME if number == 1 else f"{NAME} {number}", path)
    return {
        "page": str(path),
        "checkpoint": str(context.checkpoint._checkpoint_dest),
        "files": str(context.raw_output_prefix).rstrip("/"),
    }
