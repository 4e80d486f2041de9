"""Sending of records without points: params, summaries, tags, media and artifacts."""

from collections.abc import Callable, Iterable
from functools import partial

from runcast.core.errors import FinalError, GoneError, is_about_content
from runcast.delivery.attempts import Attempts
from runcast.delivery.sending.naming import MediaNames, ServiceNames, artifact_file, media_file
from runcast.delivery.sending.point_sender import send_values
from runcast.delivery.sending.refusals import Refuse, unsupported
from runcast.integrations.contract import Kind, TrackedRun, Tracker
from runcast.journal.layout import RunDirectory
from runcast.journal.records import AnyRecord, Artifact, Media, Metrics, Params, Summary, Tags


class RecordSender:
    """The sender of records to one tracker, which counts what the service rejects and delivers everything else."""

    def __init__(
        self,
        tracker: Tracker,
        tracked: TrackedRun,
        names: ServiceNames,
        media_names: MediaNames,
        directory: RunDirectory,
        attempts: Attempts,
        refuse: Refuse,
    ) -> None:
        self._tracker, self._tracked, self._names, self._media_names = tracker, tracked, names, media_names
        self._directory, self._attempts, self._refuse = directory, attempts, refuse

    def holds(self, record: AnyRecord) -> bool:
        """Return whether the tracker holds records of this kind."""
        if isinstance(record, Metrics):
            return self.supports("metrics", record.values)
        if isinstance(record, Params):
            return self.supports("params", record.values)
        if isinstance(record, Summary):
            return self.supports("summary", record.values)
        if isinstance(record, Tags):
            return self.supports("tags", record.tags)
        if isinstance(record, Media):
            return self.supports("media", [record.key])
        return isinstance(record, Artifact) and self.supports("artifacts", [record.name])

    def supports(self, kind: Kind, names: Iterable[str]) -> bool:
        """Return whether the tracker holds a kind; records of other kinds are counted, except by a meter."""
        if kind in self._tracker.supports:
            return True
        if not self._tracker.measures:
            self._refuse(unsupported(kind), list(names))
        return False

    def send(self, record: AnyRecord, offset: int) -> None:
        """Send a record that ends at *offset* in the journal."""
        tracker, names = self._tracker, self._names
        send = partial(send_values, attempts=self._attempts, refuse=self._refuse)
        if isinstance(record, Params):
            params = list(names.params(record.values).items())
            send("params", params, lambda part: tracker.log_params(dict(part)))
        elif isinstance(record, Summary):
            summary = list(names.summary(record.values).items())
            send("summary", summary, lambda part: tracker.log_summary(dict(part)))
        elif isinstance(record, Tags):
            send("tags", names.tags(record.tags), lambda part: tracker.add_tags(part))
        elif isinstance(record, Media):
            self._send_media(record, offset)
        elif isinstance(record, Artifact):
            self.send_one(
                "artifact", lambda: tracker.log_artifact(artifact_file(record, names, self._directory)), [record.name]
            )

    def _send_media(self, record: Media, offset: int) -> None:
        """Send a file; after a failed attempt it may have arrived all the same, and is not sent twice."""
        name, is_there = self._media_names.name(record, offset), False

        def look() -> None:
            nonlocal is_there
            is_there = (name, record.step) in (self._tracker.read(self._tracked).media or ())

        def send() -> None:
            if not is_there:
                self._tracker.log_media(media_file(record, name, self._directory))

        self.send_one("media", send, [record.key], look)

    def send_one(
        self, what: str, call: Callable[[], object], names: list[str], again: Callable[[], object] | None = None
    ) -> None:
        """Make a call about a single object; `again` runs before every attempt but the first."""

        def send() -> None:
            try:
                call()
            except OSError as error:
                if is_about_content(error):  # an unreadable picture, for example: another attempt would not help
                    raise FinalError(str(error)) from error
                raise

        try:
            self._attempts(what, send, again)
        except GoneError:
            raise
        except FinalError as error:
            self._refuse(f"{what}: {error}", names)
