"""Runs that report to nobody, and a look into their journals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.core.journal import JournalReader
from runcast.core.records import AnyRecord


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., runcast.Run]:
    """Start a run in the test's folder, to no tracker unless the test says otherwise."""

    def begin(**arguments: Any) -> runcast.Run:
        return runcast.init(**{"dir": tmp_path / "runs", "report_to": None, "project": "test", **arguments})

    return begin


def records(run: runcast.Run, kind: type[AnyRecord] | None = None) -> list[Any]:
    """Read a run's journal, or its records of one kind."""
    return [record for record in JournalReader(run.dir / "journal.jsonl") if kind is None or isinstance(record, kind)]
