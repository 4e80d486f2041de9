"""The params of a run's earlier sessions, to compare with those of a resumed one."""

from collections.abc import Mapping
from pathlib import Path

from runcast.journal.reader import JournalReader
from runcast.journal.records import Params
from runcast.redaction.console import say
from runcast.values.scalars import ParamValue

NAMED = 10


class EarlierParams:
    """The params at the beginning of a journal, read on first use."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._values: dict[str, ParamValue] | None = None

    def report_changed(self, values: Mapping[str, ParamValue]) -> None:
        """Report the params that had another value, once each."""
        if self._values is None:
            self._values = {}
            for record, _ in JournalReader(self._journal).read():
                if isinstance(record, Params):
                    self._values.update(record.values)
        earlier = self._values
        changed = sorted(key for key, value in values.items() if key in earlier and earlier.pop(key) != value)
        if changed:
            say(f"resumed with changed params: {', '.join(changed[:NAMED])}{' …' if len(changed) > NAMED else ''}")
