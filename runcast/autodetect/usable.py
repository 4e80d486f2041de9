"""Whether a tracker can be used here, online or local; if not, why, and how to fix it."""

import platform
from collections.abc import Mapping
from typing import Any

import msgspec

from runcast.autodetect.credentials import configured, switched, with_settings
from runcast.autodetect.installed import Installed, has_package, is_older, lacks_part, normalise
from runcast.integrations.table import TABLE, Ended, Inside, Integration


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The usability of one tracker here; `problem` and `mend` are empty if it can be used."""

    row: Integration
    version: str | None
    online: bool
    reason: str
    problem: str = ""
    mend: str = ""
    off: bool = False


def look_at(row: Integration, installed: Installed, offline: bool | None, environ: Mapping[str, str]) -> Survey:
    """Examine one tracker without importing it."""
    version, distribution = installed.version(row.distribution, *row.alternatives), row.distribution
    environ = with_settings(row, environ)
    again = f"pip install --force-reinstall {distribution}"

    def unusable(problem: str, mend: str) -> Survey:
        return Survey(row=row, version=version, online=False, reason="", problem=problem, mend=mend)

    if version is None and row.below and not is_older(platform.python_version(), row.below):
        return unusable(f"has no package for Python {row.below} and newer", "Use an older Python for it.")
    if version is None:
        is_ours = row.name in TABLE
        how = f"Install it with: {row.install}" if is_ours else f"Install {distribution} again."
        return unusable("is not installed", how)
    if is_older(version, row.minimum):
        problem = f"{version} is too old, {row.minimum} or newer is needed"
        return unusable(problem, f"Upgrade it with: pip install -U {distribution}")
    if not has_package(row.package):
        problem = f"is broken: {distribution} {version} is installed, but its package {row.package} is missing"
        return unusable(problem, f"Repair it with: {again}")
    if problem := _incomplete(row, installed):
        return unusable(problem, f"Repair it with: {again}")
    if off := switched(row.off, environ):
        return Survey(row=row, version=version, online=False, reason=f"switched off by {off}", off=True)
    seen = _choose_mode(row, version, offline, environ)
    missing = [need for need in row.local_needs if not installed.has(need)]
    if missing and not (seen.online or seen.problem or _keeps_files(row, environ)):
        server = f" (or report to a server: {row.log_in})" if row.log_in else ""
        return unusable(
            f"cannot keep runs locally: {' and '.join(missing)} {_are(missing)} not installed",
            f"Install the rest with: pip install {distribution}{server}",
        )
    return seen


def obituary(service: Ended) -> str:
    """Say that a service has ended, and where its users can go."""
    others = [row.name for row in TABLE.values() if not row.measures]
    return (
        f"{service.title} ended its service on {service.date}. Report to one of these instead: {', '.join(others)}. "
        f"Bring the runs of an export here with: runcast import FOLDER"
    )


def _incomplete(row: Integration, installed: Installed) -> str:
    """Return what an SDK needs for its import and lacks, as far as that can be seen without importing it."""
    missing = [need for need in row.needs if not installed.has(need)]
    if missing:  # this version's metadata say which of them matter
        required = installed.required(row.distribution, *row.alternatives)
        missing = [name for need in missing if normalise(name := need.partition(":")[0]) in required]
    if missing:
        return f"is broken: it requires {', '.join(missing)}, which {_are(missing)} not installed"
    part = lacks_part(row.package, row.parts)
    return f"is broken: its {part} is missing" if part else ""


def _keeps_files(row: Integration, environ: Mapping[str, str]) -> bool:
    """Return whether a tracker writes to a folder of plain files, which needs no database."""
    addresses = (environ.get(where.name, "") for where in row.addresses)
    return any(address.startswith("file:") or (address and ":" not in address) for address in addresses)


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def with_options(
    row: Integration, setup: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str]
) -> Mapping[str, str]:
    """Overlay the environment with the addresses and switches in the user's options."""
    own = setup.get(row.name, {})
    settings = own.get("settings")
    if not isinstance(settings, Mapping):  # an object of the SDK's, or nothing
        settings = {name: getattr(settings, name) for name in getattr(settings, "model_fields_set", ())}
    own = {**settings, **own}
    variables = {where.option: where.name for where in row.addresses} | dict(row.switches)
    chosen = {name: str(own[option]) for option, name in variables.items() if own.get(option) not in (None, "")}
    return {**environ, **chosen} if chosen else environ


def _choose_mode(row: Integration, version: str, offline: bool | None, environ: Mapping[str, str]) -> Survey:
    def local(reason: str, problem: str = "") -> Survey:
        mend = f"Log in with: {row.log_in}" if problem and row.log_in else ""
        return Survey(row=row, version=version, online=False, reason=reason, problem=problem, mend=mend)

    if not row.credentials and row.local:
        return local("always local")
    where, chosen = configured(row, environ), switched(row.offline, environ)
    for inside in row.credentials:
        if isinstance(inside, Inside) and where is None:
            problem = f"works in {inside.what} only, and this is not one"
            return msgspec.structs.replace(local("", problem), mend=inside.how)
    if offline or (offline is None and (chosen or where is None)):
        reason = "offline=True" if offline else chosen or "no credentials"
        return local(reason, "" if row.local else f"has no local mode ({reason})")
    if where is None:
        return local("", "is not configured, and offline=False asks for online")
    return Survey(row=row, version=version, online=True, reason=f"credentials from {where}")
