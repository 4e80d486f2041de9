"""Whether a user has configured a service.

Looks at the environment, netrc and configuration files, in the places where the SDKs look.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from runcast.integrations.open_runs import find_open_run
from runcast.integrations.table import Address, Credentials, Inside, Integration, Netrc, TextFile, Variables


def configured(row: Integration, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return where the credentials of a tracker are ("WANDB_API_KEY"), or None if there are none."""
    return next((where for credentials in row.credentials if (where := _found(credentials, environ))), None)


def switched(variables: Mapping[str, tuple[str, ...]], environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the first variable that has one of its values, as NAME=value."""
    for name, values in variables.items():
        if environ.get(name, "").strip().lower() in values and environ.get(name):
            return f"{name}={environ[name]}"
    return None


def _found(credentials: Credentials, environ: Mapping[str, str]) -> str | None:
    if isinstance(credentials, Variables):
        return credentials.names[0] if all(environ.get(name) for name in credentials.names) else None
    if isinstance(credentials, Address):
        return credentials.name if re.match(credentials.pattern, environ.get(credentials.name, "")) else None
    if isinstance(credentials, Netrc):
        path = Path(environ.get("NETRC") or _home(environ) / ".netrc")
        host = _host(environ.get(credentials.host_variable, "")) or re.escape(credentials.host)
        return str(path) if re.search(rf"^\s*machine\s+{host}(\s|$)", _text(path), re.MULTILINE) else None
    if isinstance(credentials, Inside):
        found = find_open_run(credentials.tracker)
        return found and credentials.what
    assert isinstance(credentials, TextFile)
    path = _path(credentials, environ)
    return str(path) if re.search(credentials.pattern, _text(path), re.MULTILINE) else None


def with_settings(row: Integration, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Lay what the SDK's own files of settings say under the environment."""
    found: dict[str, str] = {}
    for file in row.settings:
        for line in re.finditer(file.pattern, _text(_path(file, environ)), re.MULTILINE):
            found.update({variable: value for variable, value in line.groupdict().items() if value})
    return {**found, **environ} if found else environ


def _path(file: TextFile, environ: Mapping[str, str]) -> Path:
    chosen = environ.get(file.variable) or file.path
    path = Path(chosen.replace("~", str(_home(environ)), 1) if chosen.startswith("~") else chosen)
    return path / Path(file.path).name if os.path.isdir(path) else path


def _host(url: str) -> str | None:
    """Return the pattern of a host, whose port may be named: wandb 0.31 does, older ones do not."""
    if not url:
        return None
    from urllib.parse import urlsplit  # rarely needed, and start-up counts

    try:
        parts = urlsplit(url)
        port = f"(?::{parts.port})?" if parts.port else ""
    except ValueError:  # such as "http://[::1", which no file of credentials names
        return re.escape(url)
    return f"{re.escape(parts.hostname)}{port}" if parts.hostname else None


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or os.path.expanduser("~"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
