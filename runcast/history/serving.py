"""The trackers' own pages on local runs."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from runcast.core.errors import JournalError
from runcast.delivery.addresses import is_service, open_command, page_command, place
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a tracker: its address, and the command that serves it, unless a service does."""

    tracker: str
    address: str | None
    command: str | None = None


def find_page(directories: Sequence[RunDirectory], name: str | None, port: int | None) -> Page:
    """Find the page of one tracker, or of the first tracker that has one, for the first of some runs that it has.

    Raises:
        JournalError: There is none; the message says how else to look at the runs.
    """
    others: dict[str, str] = {}
    for directory in directories:
        for one in [name] if name is not None else list(directory.load().trackers):
            where = place(directory, one, load_state(directory.tracker(one)))
            if where is not None and is_service(one, where):
                return Page(tracker=one, address=where)
            number = port or _free_port()
            if (command := page_command(directory, one, where, number)) is not None:
                address = f"http://127.0.0.1:{number}" if f"--port {number}" in command else None
                return Page(tracker=one, address=address, command=command)
            if (other := open_command(directory, one, where)) is not None:
                others.setdefault(one, other)
    if others:
        hints = "; ".join(f"{one}: {command}" for one, command in others.items())
        who = f"{name} has no page" if name else "No tracker has a page"
        raise JournalError(f"{who} of its own for local runs. Use {hints}")
    raise JournalError(
        f"{name or 'No tracker'} has {'none' if name else 'any'} of these runs. See: runcast replay --help"
    )


def serve(page: Page) -> int:
    """Run the command of a page until it ends or is interrupted; return its exit status."""
    assert page.command is not None
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(["/bin/sh", "-c", f"exec {page.command}"], env={**os.environ, "PATH": path})
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
