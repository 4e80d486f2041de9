"""Every link of the docs leads somewhere, and what tools write into them is current."""

import re
from pathlib import Path

import pytest

from runcast.integrations.table import TABLE
from tools.tracker_pages import PAGES as TRACKERS, written

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")]
)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.*)", prose(page), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository and, where it names one, to a heading in it; the site has no links into a network."""
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for link in links:
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert "://" not in link, link
        assert target.exists(), link
        is_of_the_api = f"::: {anchor}" in target.read_text(encoding="utf-8") if anchor else False
        assert not anchor or anchor in anchors(target) or is_of_the_api, link


@pytest.mark.parametrize("name", TABLE)
def test_the_page_of_a_tracker_has_its_present_options(name: str) -> None:
    """As `make format` writes them: from the table, and from the variables of the Tracker."""
    text = (TRACKERS / f"{name}.md").read_text(encoding="utf-8")

    assert text == written(text, TABLE[name])


def test_every_page_is_in_the_menu() -> None:
    """A page that the menu lacks is found by nobody."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")

    assert [
        str(page) for page in PAGES if "docs" in page.parts and str(page.relative_to(ROOT / "docs")) not in menu
    ] == []
