"""What a row of the table says about a tracker."""

import re
from collections.abc import Mapping
from typing import Literal

import msgspec


class Variables(msgspec.Struct, frozen=True):
    """Credentials in the environment: all of these variables are set."""

    names: tuple[str, ...]


class Address(msgspec.Struct, frozen=True):
    """A server named by a variable, or by the tracker's option `option`, whose value matches `pattern`."""

    name: str
    pattern: str = r"https?://"
    option: str = ""


class Netrc(msgspec.Struct, frozen=True):
    """A password in the user's netrc file for `host`, or for the host in the variable `host_variable`."""

    host: str
    host_variable: str


class TextFile(msgspec.Struct, frozen=True):
    """A configuration file that has a line matching `pattern`.

    It is the variable's value, else `path`, with ~ expanded; in a folder it has the name that `path` has.
    """

    path: str
    pattern: str
    variable: str = ""


class Inside(msgspec.Struct, frozen=True):
    """The code of the SDK that runs the script: *tracker* works in `what` only; `how` says how to get there."""

    tracker: str
    what: str
    how: str


Credentials = Variables | Address | Netrc | TextFile | Inside


class Integration(msgspec.Struct, frozen=True, kw_only=True):
    """One row.

    It names the Tracker, its requirements, the service's configuration, and the command that opens a result.

    `minimum` and `tested` are versions of `distribution`. `credentials` are alternatives: with any of them the tracker
    can go online (none listed: it is always local); `local` says whether it works without any. `off` and `offline` map
    an environment variable to the values (lower case) with which users already switch the tracker off, or to its local
    mode; `switches` maps an option of the tracker to the variable that it replaces. `settings` are files in which the
    SDK finds what its variables do not say, the weakest first: the groups of their patterns have the names of the
    variables. `open_command` may use {url}, {name} (the run's), {local}, {directory}, {folder} (where the tracker keeps
    its files: what it remembers, else `folder` in its own) and what else it remembers; `page_command` starts the SDK's
    own page, on {port} if it has one, and may also use {runs}, the folder of all runs, and {named}, one that has each
    run's files under its name. `writes` says where local runs lie, with {runs} and {name}, if the variable `writes_at`
    does not. `needs` lists the distributions (as "distribution" or "distribution:module") without which the SDK cannot
    be imported, where its version requires them; `local_needs` those without which it keeps no runs locally. `imports`
    are large modules that the SDK imports where they are installed, and that others import too; `unused` those that it
    imports only if they are installed, and of which a delivery has no use. `parts` are files of the package that a
    build for another platform lacks. `options` are the names that `setup` may use: words, and "module:Name" of a
    function or class of the SDK whose arguments are such names; none listed: any. `extra` is the extra of
    pyproject.toml that installs it with others: "all" the seven of the first rank, "more" the rest, but for those
    "apart", which the versions of others rule out. `over` is the row whose Tracker this one extends: under "all", only
    this one writes to a server of both. `below` is the first Python for which the distribution has no package.
    `keeps` are the ends of paths by which `runcast import` recognises runs of the service, with `:TABLE` behind that of
    an SQLite file.
    """

    name: str
    tracker: str
    distribution: str
    package: str
    minimum: str
    tested: str
    title: str
    open_command: str
    page_command: str = ""
    folder: str = ""
    aliases: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    local_needs: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    credentials: tuple[Credentials, ...] = ()
    off: Mapping[str, tuple[str, ...]] = {}
    offline: Mapping[str, tuple[str, ...]] = {}
    switches: Mapping[str, str] = {}
    settings: tuple[TextFile, ...] = ()
    environment: Mapping[str, str] = {}
    offline_environment: Mapping[str, str] = {}
    log_in: str = ""
    writes: str = "{runs}/*/trackers/{name}"
    writes_at: str = ""
    local: bool = True
    measures: bool = False
    options: tuple[str, ...] = ()
    over: str = ""
    below: str = ""
    keeps: tuple[str, ...] = ()
    extra: Literal["all", "more", "apart"] = "all"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The credentials that are an address."""
        return tuple(one for one in self.credentials if isinstance(one, Address))

    def is_server(self, address: str) -> bool:
        """Return whether an address is that of a server, not of files or a database."""
        return any(re.match(one.pattern, address) for one in self.addresses)

    @property
    def install(self) -> str:
        """The command that installs it; before pip 23.3 only the metadata's spelling of an extra does, with hyphens."""
        return f"pip install 'runcast[{self.name.replace('_', '-')}]'"


class Ended(msgspec.Struct, frozen=True):
    """A service that people still ask for by name, but that ended on `date`; `distribution` is its SDK."""

    name: str
    title: str
    distribution: str
    date: str


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A form in which runs are kept that no tracker writes; `runcast import` reads it with the class *tracker*.

    `keeps` is as in a row of the table.
    """

    name: str
    title: str
    tracker: str
    keeps: tuple[str, ...]
