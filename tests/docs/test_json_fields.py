"""The page of the command line names the fields of the JSON that it prints."""

import re
from pathlib import Path

import msgspec
import pytest

from runcast.history.comparison import Verdict
from runcast.history.delivering import Outcome
from runcast.history.importing import Imported
from runcast.history.overview import RunOverview, TrackerOverview
from runcast.history.removal import Remains, RunSize
from runcast.history.serving import Page
from runcast.history.views.contents import Contents
from runcast.history.views.listing import ListedRun
from runcast.history.views.side_by_side import RunComparison

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
NOUNS: dict[str, type[msgspec.Struct]] = {
    "run": RunOverview,
    "tracker of a run": TrackerOverview,
    "contents": Contents,
    "listed run": ListedRun,
    "comparison": RunComparison,
    "page": Page,
    "size": RunSize,
    "imported run": Imported,
    "remains": Remains,
    "outcome": Outcome,
    "verdict": Verdict,
}


@pytest.mark.parametrize("noun", NOUNS)
def test_each_field_is_named(noun: str) -> None:
    """All that there are, and no others, so that a program can rely on the table."""
    (row,) = re.findall(rf"^\| {noun} \|.*\|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row))

    own = {"verdict": ["is_right", "problems"]}.get(noun, [])
    assert sorted(named) == sorted([*NOUNS[noun].__struct_fields__, *own])
