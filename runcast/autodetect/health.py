"""The findings of `runcast doctor`: the machine, the runs' folder, and every tracker, without importing any of them."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from runcast.autodetect.credentials import with_settings
from runcast.autodetect.installed import is_older, scan
from runcast.autodetect.selection import survey
from runcast.autodetect.usable import Survey, obituary
from runcast.integrations.table import ENDED, Ended, Integration, Netrc
from runcast.redaction.tree import redact_text

Support: TypeAlias = Literal["tested", "supported", "newer", "too old", "missing", "ended"]


class TrackerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The usability of a tracker, and where it would write.

    `support` compares `version` with the `minimum` and the `tested` one; "newer" is newer than the tested one. `mode`
    is "online", "local", "off", or None if it cannot be used: then `problem` says why and `mend` how to fix it.
    `log_in` is the command that configures the service.
    """

    name: str
    title: str
    version: str | None
    minimum: str = ""
    tested: str = ""
    support: Support
    mode: Literal["online", "local", "off"] | None = None
    reason: str = ""
    where: str | None = None
    problem: str
    mend: str
    log_in: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The state of this machine for runcast.

    `torch` is a version or None, `devices` names the GPUs that PyTorch could train on.
    """

    runcast: str
    python: str
    system: str
    torch: str | None
    devices: list[str]
    runs: str
    is_writable: bool
    trackers: list[TrackerHealth]


def examine(runs: Path, offline: bool | None = None, environ: Mapping[str, str] = os.environ) -> Health:
    """Examine the machine and every known tracker, without importing, writing or prompting."""
    from runcast import __version__

    return Health(
        runcast=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=scan().version("torch"),
        devices=_devices(),
        runs=str(runs),
        is_writable=_is_writable(runs),
        trackers=[
            *(_tracker(seen, runs, environ) for seen in survey(None, offline, environ).values()),
            *(
                _ended(service, version)
                for service in ENDED.values()
                if (version := scan().version(service.distribution))
            ),
        ],
    )


def _ended(service: Ended, version: str) -> TrackerHealth:
    said, mend = obituary(service).split(". ", 1)
    return TrackerHealth(
        name=service.name, title=service.title, version=version, support="ended", problem=said, mend=mend
    )


def _tracker(seen: Survey, runs: Path, environ: Mapping[str, str]) -> TrackerHealth:
    row, usable = seen.row, not seen.problem and not seen.off
    where = service(row, environ) if seen.online else _folder(row, runs, environ)
    return TrackerHealth(
        name=row.name,
        title=row.title,
        version=seen.version,
        minimum=row.minimum,
        tested=row.tested,
        support=_support(row, seen.version),
        mode="off" if seen.off else None if seen.problem else "online" if seen.online else "local",
        reason=seen.reason,
        where=where if usable else None,
        problem=seen.problem,
        mend=seen.mend,
        log_in=row.log_in,
    )


def _folder(row: Integration, runs: Path, environ: Mapping[str, str]) -> str:
    """Return where a tracker keeps local runs: where its variable says, if that names no server."""
    chosen = environ.get(row.writes_at, "")
    is_local = chosen and not row.is_server(chosen)
    return redact_text(chosen) if is_local else row.writes.format(runs=runs, name=row.name)


def service(row: Integration, environ: Mapping[str, str] = os.environ) -> str:
    """Return the host that a tracker would report to, if the environment names it; else the service."""
    variables = [address.name for address in row.addresses]
    variables += [credentials.host_variable for credentials in row.credentials if isinstance(credentials, Netrc)]
    environ = with_settings(row, environ)
    return next((host for variable in variables if (host := _host(environ.get(variable, "")))), row.title)


def _host(address: str) -> str:
    try:
        parts = urlsplit(address)
        return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:  # such as "http://localhost:${PORT}"
        return redact_text(address)


def _support(row: Integration, version: str | None) -> Support:
    if version is None:
        return "missing"
    if is_older(version, row.minimum):
        return "too old"
    if is_older(row.tested, version):
        return "newer"
    return "supported" if is_older(version, row.tested) else "tested"


def _devices() -> list[str]:
    """List GPUs as the operating system shows them, without importing PyTorch."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ["Apple GPU"]
    cards = [name for name in (os.listdir("/dev") if os.path.isdir("/dev") else ()) if re.fullmatch(r"nvidia\d+", name)]
    return [f"NVIDIA GPU {name.removeprefix('nvidia')}" for name in sorted(cards)] or (
        ["AMD GPU"] if os.path.exists("/dev/kfd") else []
    )


def _is_writable(folder: Path) -> bool:
    """Return whether files can be created in the folder, or in the one that it would be made in."""
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
