"""Installed distributions, read from the names of the metadata folders on `sys.path` in a few milliseconds.

`importlib.metadata` answers the same questions but takes longer than all of `runcast.init` may. A mere folder called
`wandb` does not count as wandb.
"""

import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from typing import NamedTuple

ENTRY_POINT_GROUP = "runcast.trackers"


class Distribution(NamedTuple):
    """One installed distribution: its normalized name, its version, its metadata folder."""

    name: str
    version: str
    folder: str


class Installed(NamedTuple):
    """The distributions of an environment by normalized name (the first on the path wins)."""

    distributions: dict[str, Distribution]

    def version(self, *names: str) -> str | None:
        """Return the version of the first of *names* that is installed."""
        for name in names:
            if found := self.distributions.get(normalise(name)):
                return found.version
        return None

    def has(self, need: str) -> bool:
        """Return whether a distribution ("name" or "name:module"), or at least its module, is installed."""
        name, _, module = need.partition(":")
        return normalise(name) in self.distributions or has_package(module or name.replace("-", "_"))

    def required(self, *names: str) -> set[str]:
        """Return the distributions that the installed ones of *names* require without any extra."""
        found: set[str] = set()
        for distribution in filter(None, (self.distributions.get(normalise(name)) for name in names)):
            try:
                with open(os.path.join(distribution.folder, "METADATA"), encoding="utf-8", errors="replace") as file:
                    head = file.read().partition("\n\n")[0]
            except OSError:
                continue
            required = re.findall(r"^Requires-Dist:\s*([\w.-]+)(.*)$", head, re.MULTILINE)
            found.update(normalise(name) for name, condition in required if "extra" not in condition.partition(";")[2])
        return found

    def entry_points(self) -> dict[str, tuple[str, Distribution]]:
        """Map the names in the group `runcast.trackers` to "module:Class" and the distribution that provides them."""
        found = {}
        for distribution in self.distributions.values():
            try:
                path = os.path.join(distribution.folder, "entry_points.txt")
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
            except OSError:
                continue
            if ENTRY_POINT_GROUP in text:
                section = re.search(rf"^\[{re.escape(ENTRY_POINT_GROUP)}\]\n((?:(?!\[).*\n?)*)", text, re.MULTILINE)
                for name, value in re.findall(
                    r"^\s*([\w.-]+)\s*=\s*([\w.:]+)", section[1] if section else "", re.MULTILINE
                ):
                    found[name] = (value, distribution)
        return found


def scan() -> Installed:
    """List the distributions on `sys.path`."""
    found: dict[str, Distribution] = {}
    for folder in [each for each in sys.path if isinstance(each, str)]:  # Python imports nothing from a Path or bytes
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                stem, _, version = name.rpartition(".")[0].partition("-")
                key = normalise(stem)
                found.setdefault(key, Distribution(key, version.split("-py")[0] or "0", os.path.join(folder, name)))
    return Installed(found)


def normalise(name: str) -> str:
    """Normalize a distribution's name as in PEP 503."""
    return "-".join(filter(None, name.lower().replace("_", "-").replace(".", "-").split("-")))


def has_package(name: str) -> bool:
    """Return whether a top-level package has code (a folder without `__init__.py` has none)."""
    if name in sys.modules:
        return True
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return found is not None and found.origin is not None


def lacks_part(package: str, parts: Iterable[str]) -> str | None:
    """Return the first of a package's files that is missing; a script of that name, which hides it here, has none."""
    for part in parts:
        try:
            found = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            return None
        if found is not None and found.origin is not None and found.submodule_search_locations:
            path = os.path.join(os.path.dirname(found.origin), part)
            if not (os.path.exists(path) or os.path.exists(f"{path}.exe")):
                return part
    return None


def is_older(version: str, minimum: str) -> bool:
    """Compare the leading numbers of two versions."""
    return _numbers(version) < _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
