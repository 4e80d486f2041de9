"""The packages that a script runs with."""

import json
import os
import platform
import sys

from runcast.autodetect.installed import Distribution, scan
from runcast.redaction.tree import redact_text
from runcast.run.snapshot.checkout import without_credentials
from runcast.run.snapshot.hardware import read_file
from runcast.values.scalars import without_surrogates


def list_packages() -> str:
    """List the distributions on `sys.path` as lines of a requirements file, without secrets."""
    lines = sorted(map(_line, scan().distributions.values()))
    return "\n".join([f"# Python {platform.python_version()} on {sys.platform}", *lines, ""])


def _line(distribution: Distribution) -> str:
    """Return the line of a distribution: with its version, or with the address that it was installed from."""
    name, version, folder = distribution
    origin = read_file(os.path.join(folder, "direct_url.json"))
    try:
        told = json.loads(origin) if origin else {}
        url = redact_text(without_credentials(told["url"])) if told else ""
        control = told.get("vcs_info") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        url, control = "", {}
    if not url:
        return without_surrogates(f"{name}=={version}")
    if control:
        url = f"{control.get('vcs', 'git')}+{url}@{control.get('commit_id', '')}"
    return without_surrogates(f"{name} @ {url}")
