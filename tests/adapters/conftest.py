"""A folder of its own for each test, and no words from runcast; what the frameworks warn of is theirs to mend."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder in which the test runs; its runs lie in `folder/runs`."""
    monkeypatch.setenv("RUNCAST_QUIET", "1")
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield place
