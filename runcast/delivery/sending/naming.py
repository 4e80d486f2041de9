"""The names of our keys in a service: renamed where necessary, numbered where repeated."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from runcast.integrations.contract import ArtifactFile, MediaFile, Tracker
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import inside
from runcast.journal.reader import JournalReader
from runcast.journal.records import Artifact, Media
from runcast.values.names import NameRule
from runcast.values.params import shorten
from runcast.values.scalars import ParamValue

Value = TypeVar("Value")


class ServiceNames:
    """The names under a tracker's rules; `renamed` maps each key that the service cannot hold to its name there."""

    def __init__(self, tracker: Tracker, renamed: dict[str, str]) -> None:
        self._tracker, self.renamed = tracker, renamed
        self._metrics: dict[str, str] = {}

    def metric(self, key: str) -> str:
        """Return the service's name of a metric or a summary value."""
        name = self._metrics.get(key)
        if name is None:
            name = self._metrics[key] = self._apply(self._tracker.names, key)
        return name

    def media(self, key: str) -> str:
        """Return the name of a media key."""
        return self._apply(self._tracker.media_names or self._tracker.names, key)

    def artifact(self, key: str) -> str:
        """Return the name of an artifact."""
        return self._apply(self._tracker.artifact_names, key)

    def tags(self, tags: list[str]) -> list[str]:
        """Return the names of tags."""
        return [self._apply(self._tracker.tag_names, tag) for tag in tags]

    def params(self, values: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """Rename the keys of params, and shorten texts that are too long for the service."""
        limit = self._tracker.max_param_chars
        return {
            self._apply(self._tracker.param_names, key): shorten(value, limit)
            if limit and isinstance(value, str)
            else value
            for key, value in values.items()
        }

    def summary(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Rename the keys of summary values."""
        return {self.metric(key): value for key, value in values.items()}

    def _apply(self, rule: NameRule, key: str) -> str:
        name = rule.encode(key)
        if name != key:
            self.renamed.setdefault(key, name)
        return name


class MediaNames:
    """The names of media: several under one key and step are `key`, `key/1`, `key/2` …, the same on every tracker.

    Few services keep several files of one name and step. The names depend only on the order in the journal, so every
    delivery of a run finds the same ones.
    """

    def __init__(self, names: ServiceNames, journal: Path) -> None:
        self._names, self._journal = names, journal
        self._given: dict[int, str] = {}  # by the end offset of the record
        self._taken: set[tuple[str, int]] = set()

    def name(self, record: Media, offset: int) -> str:
        """Return the name of the record that ends at *offset*; records are read once and must be asked for in order."""
        if not self._given:
            self._read_up_to(offset)
        return self._given.get(offset) or self._give(record, offset)

    def _read_up_to(self, end: int) -> None:
        for record, offset in JournalReader(self._journal).with_ends():
            if offset >= end:
                return
            if isinstance(record, Media):
                self._give(record, offset)

    def _give(self, record: Media, offset: int) -> str:
        name, number = self._names.media(record.key), 0
        while (name, record.step) in self._taken:
            number += 1
            name = self._names.media(f"{record.key}/{number}")
        self._taken.add((name, record.step))
        self._given[offset] = name
        return name


def media_file(record: Media, name: str, directory: RunDirectory) -> MediaFile:
    """Return the file of a media record for a tracker, under the service's name.

    Raises:
        FinalError: The file is not in the run's folder.
    """
    path = inside(directory.path, record.path)
    return MediaFile(name, record.step, record.kind, path, record.caption, record.time)


def artifact_file(record: Artifact, names: ServiceNames, directory: RunDirectory) -> ArtifactFile:
    """Return the file or folder of an artifact record for a tracker.

    Raises:
        FinalError: The file or folder is not in the run's folder.
    """
    return ArtifactFile(names.artifact(record.name), record.kind, inside(directory.path, record.path))
