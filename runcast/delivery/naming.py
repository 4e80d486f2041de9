"""The names under which a service holds our keys, and a record of those that differ."""

from collections.abc import Mapping
from typing import TypeVar

from runcast.core.names import NameRule
from runcast.integrations.contract import Tracker

Value = TypeVar("Value")


class ServiceNames:
    """Applies a tracker's rules; `renamed` maps each key that the service cannot hold as it is to its name there."""

    def __init__(self, tracker: Tracker, renamed: dict[str, str]) -> None:
        self._tracker, self.renamed = tracker, renamed
        self._metrics: dict[str, str] = {}

    def metric(self, key: str) -> str:
        """Return the name of a metric, a summary value or a media key."""
        name = self._metrics.get(key)
        if name is None:
            name = self._metrics[key] = self._apply(self._tracker.names, key)
        return name

    def artifact(self, key: str) -> str:
        """Return the name of an artifact."""
        return self._apply(self._tracker.artifact_names, key)

    def tags(self, tags: list[str]) -> list[str]:
        """Return the names of tags."""
        return [self._apply(self._tracker.tag_names, tag) for tag in tags]

    def params(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Rename the keys of parameters."""
        return {self._apply(self._tracker.param_names, key): value for key, value in values.items()}

    def summary(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Rename the keys of summary values."""
        return {self.metric(key): value for key, value in values.items()}

    def _apply(self, rule: NameRule, key: str) -> str:
        name = rule.encode(key)
        if name != key:
            self.renamed.setdefault(key, name)
        return name
