"""Checks a tracker's options against the signatures in its SDK's source, without importing it."""

import ast
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runcast.autodetect.installed import scan
from runcast.integrations.table import row_named
from runcast.values.settings import check_names


def check_setup(setup: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if a tracker in the table would refuse an option.

    Raises:
        OptionError: An option is unknown; the message suggests the closest one.
    """
    for name, options in setup.items():
        row = row_named(name) if options else None  # any other is a third-party tracker
        if row is None or not row.options:
            continue
        plain = {word for word in row.options if ":" not in word}
        if set(options) <= plain:
            continue
        signatures = [_names(row.package, place) for place in row.options if ":" in place]
        if scan().version(row.distribution, *row.alternatives) is None or None in signatures:
            continue  # another version, or not installed: the tracker will report it
        known = plain.union(*(names for names in signatures if names is not None))
        check_names(options, sorted(known), of=f" of {row.title}")


def _names(package: str, place: str) -> set[str] | None:
    """Return the argument names of a function or class, "package.module:Name", or None if it is not found."""
    module, _, name = place.partition(":")
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder, *module.split(".")[1:]).with_suffix(".py")
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError):
            continue
        for node in tree.body:
            if getattr(node, "name", None) == name:
                return set(_arguments(node))
    return None


def _arguments(node: ast.stmt) -> Iterable[str]:
    if isinstance(node, ast.FunctionDef):
        return [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs) if argument.arg != "self"]
    assert isinstance(node, ast.ClassDef)
    fields = [
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    made = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
    return _arguments(made[0]) if made else fields
