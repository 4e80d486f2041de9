"""A look into the journal of a run."""

from typing import Any

import runcast
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord


def records(run: runcast.Run, kind: type[AnyRecord] | None = None) -> list[Any]:
    """Read a run's journal, or its records of one kind."""
    return [record for record in JournalReader(run.dir / "journal.jsonl") if kind is None or isinstance(record, kind)]
