"""The site is built as `make docs` builds it, and shows what the pages mean."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("mkdocs", reason="the documentation tools are not installed: make docs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it, with every warning an error: of a missing page, a wrong anchor, an unknown name of the API."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_lists_of_definitions_are_lists(site: Path) -> None:
    """The options on the page of the command line, and what a tracker needs, writes and drops."""
    commands = (site / "cli" / "index.html").read_text(encoding="utf-8")
    tracker = (site / "trackers" / "wandb" / "index.html").read_text(encoding="utf-8")

    assert "<dt><code>--dir FOLDER</code></dt>" in commands
    assert ":   " not in commands
    assert [f"<dt>{word}</dt>" in tracker for word in ("Needs", "Writes", "Drops", "Limits")] == [True] * 4


@pytest.mark.slow
def test_a_guarantee_is_four_paragraphs(site: Path) -> None:
    """What is promised, how, how that is tested, and what is not covered: thirteen times."""
    page = (site / "guarantees" / "index.html").read_text(encoding="utf-8")

    for word in ("Promised", "How", "Tested", "Not covered"):
        assert page.count(f"<p><strong>{word}.</strong>") == 13


@pytest.mark.slow
def test_no_private_name_is_shown(site: Path) -> None:
    """The pages of the API list what people call."""
    for page in ("api", "callbacks", "trainer", "adapters/lightning"):
        headings = (site / page / "index.html").read_text(encoding="utf-8").split('class="doc doc-heading"')[1:]
        assert [part[:80] for part in headings if '"runcast.' in part[:80] and "._" in part[:80]] == []
