"""The address of a delivered run, and the command that opens it."""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
from pathlib import Path

from runcast.core.errors import JournalError
from runcast.integrations.table import TABLE
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import shown
from runcast.journal.state import DeliveryState, load_state


def place(directory: RunDirectory, name: str, state: DeliveryState | None) -> str | None:
    """Return the run's web address or path; None before the tracker has opened it."""
    url = state.url if state else None
    if url is None or "://" in url or url.startswith("file:") or is_service(name, url):
        return url
    if Path(url).exists():
        return shown(Path(url))
    return shown(directory.tracker(name))  # the run's folder was moved since


def open_command(directory: RunDirectory, name: str, where: str | None) -> str | None:
    """Return the command that opens the run, or None if its web address is enough."""
    row = TABLE.get(name)
    if where is None or row is None or is_service(name, where) or (row.measures and Path(where).is_dir()):
        return None
    return _filled(row.open_command, directory, name, where)


def page_command(directory: RunDirectory, name: str, where: str | None, port: int) -> str | None:
    """Return the command that starts the tracker's own page on local runs, or None if it has none."""
    row = TABLE.get(name)
    if where is None or row is None or not row.page_command or is_service(name, where):
        return None
    runs = directory.path.parent  # unless the user's options keep the files elsewhere
    is_there = not Path(where).exists() or Path(where).resolve().is_relative_to(runs.resolve())
    more = {"runs": shown(runs) if is_there else where, "port": str(port)}
    if "{named}" in row.page_command:
        more["named"] = _name_links(runs, name) if is_there else where
    return _filled(row.page_command, directory, name, where, **more)


def _name_links(runs: Path, name: str) -> str:
    """Make links to a tracker's files, each called as its run, for a page that shows the names of folders.

    They lie in the user's cache: beside the runs, a page on the folder of all runs would show each run twice.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "runcast", "pages")
    folder = cache / hashlib.sha256(str(runs.resolve()).encode()).hexdigest()[:12] / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in sorted(runs.glob("*/run.json")):
        directory = RunDirectory(file.parent)
        where = Path(place(directory, name, load_state(directory.tracker(name))) or "")
        if where.is_absolute() or where.parts:
            with contextlib.suppress(JournalError):  # one that is damaged hides no other
                link = folder / _as_file_name(directory.load().name)
                ends = [directory.path.name[-6:], directory.path.name]  # two runs of one name differ by their ids
                while link.is_symlink() and ends:
                    link = folder / f"{link.name} {ends.pop(0)}"
                link.symlink_to(where.resolve())
    return str(folder)


def _as_file_name(name: str) -> str:
    return re.sub(r"[/,:\s\0]+|^\.", "-", name)[:100].encode()[:120].decode(errors="ignore") or "-"


def _filled(command: str, directory: RunDirectory, name: str, where: str, **more: str) -> str | None:
    """Fill in a command of the table."""
    state, local = load_state(directory.tracker(name)), shown(directory.tracker(name))
    ids = state.ids if state is not None else {}
    own = _as_file_name(directory.load().name)
    places = {**ids, "url": where, "local": local, "directory": shown(directory.path), "name": own, **more}
    places["folder"] = ids.get("folder") or os.path.normpath(os.path.join(local, TABLE[name].folder))
    try:
        return command.format(**{key: shlex.quote(value) for key, value in places.items()})
    except KeyError:  # its state was lost
        return None


def is_service(name: str, address: str) -> bool:
    """Return whether an address belongs to a service, not to files or a database that need a command."""
    row = TABLE.get(name)
    return address.startswith(("http://", "https://")) or (row is not None and row.is_server(address))
