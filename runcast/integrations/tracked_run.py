"""The run as a Tracker receives it."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import FinalError
from runcast.journal.layout import Source


class TrackedRun(msgspec.Struct, kw_only=True):
    """The run as a Tracker receives it, which also stores the tracker's own ids of it.

    `directory` is the run's folder, `local` the folder under it where this tracker may write files. `online` says
    whether credentials are configured and wanted. `options` is what the user passed as `init(setup={name: options})`.
    `script` is the command line's first word. `given` names the arguments of `init` that the user passed, `variables`
    is that of the Tracker. `pid` is the training process; it is over if not `trains`, and a meter has nothing to
    measure then. `created` is when the run began, and `time` that of the record that is being delivered, at first of
    the session: the times for a service that stores them. `axes` maps patterns of metrics to the metric that is their
    x-axis. `source` is the commit that the training's code was at, for a service that shows it in its own place; it
    is among the params, too. `ids` survives restarts: `remember` writes it before it returns. `resumed` is true when
    this tracker has opened this run before. `url` is set by `setup`: the run's web address or local path; and `found`,
    if the service has part of a run that is not resumed, from another copy of its folder, and `read` says which.
    `foreign` is true of a run that was found for `import` and that other code wrote: `read` returns all that is in it,
    under its own names.
    """

    id: str
    name: str
    project: str
    directory: Path
    local: Path
    created: float
    online: bool
    variables: Mapping[str, str] = {}
    group: str | None = None
    tags: Sequence[str] = ()
    notes: str | None = None
    pid: int = 0
    trains: bool = True
    axes: Mapping[str, str] = {}
    source: Source | None = None
    options: Mapping[str, Any] = {}
    given: frozenset[str] = frozenset()
    script: str = ""
    time: float = 0.0
    ids: dict[str, str] = {}
    resumed: bool = False
    found: bool = False
    foreign: bool = False
    url: str | None = None
    save_ids: Callable[[dict[str, str]], None] | None = None

    def setting(self, field: str) -> Any:
        """Choose a value.

        The tracker's own option, else init's argument, else the SDK's variable, else our default (None if there is
        none).
        """
        if field in self.options:
            return self.options[field]
        if field in self.given:
            return getattr(self, field)
        found = (os.environ.get(variable) for variable in self.variables.get(field, "").split())
        return next(filter(None, found), getattr(self, field, None))

    def words(self, field: str) -> list[str]:
        """Choose a value that is several words; a text, as a variable holds it, has commas between them."""
        found = self.setting(field) or ()
        return [word.strip() for word in found.split(",")] if isinstance(found, str) else list(found)

    def join(self, **ids: str) -> None:
        """Note that the service's run was opened by other code, which also writes to it and closes it."""
        self.remember(**ids, joined="yes")

    @property
    def is_joined(self) -> bool:
        """Return whether the service's run was opened by other code; version 0.1 had two keys for it."""
        return bool({"guest", "joined"} & self.ids.keys())

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make a temporary folder among the tracker's own files, replacing one left by a killed process."""
        import shutil  # start-up counts, and only a delivery needs it

        folder = self.local / ".scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def generation(self) -> int:
        """Return the number of the service's run: 1, and one more after each deletion."""
        return int(self.ids.get("generation", "1"))

    @property
    def replaces(self) -> str | None:
        """Return the service's identifier of the deleted run that this one replaces, for the service to show."""
        return self.ids.get("replaces")

    def check_server(self, server: str) -> None:
        """Keep a run from being recreated on *server*, where it is not, if it began on another one.

        Raises:
            FinalError: It did: only that one can say whether the run was deleted.
        """
        begun = self.ids.get("server", server)
        if begun.rstrip("/") != server.rstrip("/"):
            raise FinalError(f"The run is on {begun}. Here {server} is set up: change that, and run: runcast sync")

    def recreate(self, identities: Collection[str] | None) -> None:
        """Forget the run that was deleted at the service, so that `setup` creates another one."""
        names = self.ids.keys() - {"generation", "replaces"} if identities is None else frozenset(identities)
        for name in sorted(names & self.ids.keys()):
            self.ids["replaces"] = self.ids.pop(name)
        self.resumed, self.url = False, None
        self.remember(generation=str(self.generation + 1))

    def remember(self, **ids: str) -> None:
        """Keep the service's own identifiers of this run, so that a restart or a resume finds it again."""
        self.ids.update(ids)
        if self.save_ids is not None:
            self.save_ids(self.ids)


def found_run(
    identity: str, name: str, project: str, folder: Path, *, foreign: bool = True, **fields: Any
) -> TrackedRun:
    """Describe a run that a tracker has found for `import`.

    Args:
        identity: What tells it from other runs of the tracker, wherever it is copied or moved.
        name: Its name there.
        project: What the service groups runs by.
        folder: Where `read` may put files.
        foreign: Whether other code than runcast wrote it.
        fields: Others of `TrackedRun`, such as `ids` with what `read` needs.
    """
    fields = {"created": 0.0, "online": False, **fields}
    return TrackedRun(
        id=identity, name=name, project=project, directory=folder, local=folder, foreign=foreign, **fields
    )
