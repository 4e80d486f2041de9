"""Settings from a dict, a JSON or YAML file, or the command line."""

import argparse
import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runcast.core.errors import OptionError

Settings = TypeVar("Settings")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def from_dict(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make settings of a mapping.

    Raises:
        OptionError: A name is unknown; the message holds the one that was probably meant.
    """
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, 1)
            raise OptionError(
                f"{name!r} is no setting of {kind.__name__}." + (f" Did you mean {close[0]!r}?" if close else "")
            )
    return kind(**values)


def from_file(kind: type[Settings], path: str | os.PathLike[str]) -> Settings:
    """Make settings of a JSON or YAML file with a mapping.

    Raises:
        OptionError: The file cannot be read, or is something else.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = _yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{path} cannot be read as {'YAML' if path.suffix in ('.yaml', '.yml') else 'JSON'}: {error}."
        ) from error
    if not isinstance(values, Mapping):
        raise OptionError(f"{path} holds a {type(values).__name__}, not a mapping of settings.")
    return from_dict(kind, values)


def from_command_line(kind: type[Settings], arguments: Sequence[str] | None = None) -> Settings:
    """Make settings of --name value pairs (--flag and --no-flag for switches).

    --help lists them all, --config names a file to begin with.
    """
    parser = argparse.ArgumentParser(usage="%(prog)s [--config FILE] [--NAME VALUE] [--SWITCH | --no-SWITCH] ...")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="A JSON or YAML file of settings; the command line beats it.",
        default=argparse.SUPPRESS,
    )
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        plain, sentence = typing.get_args(hint)[:2]
        flags = [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])]
        told = sentence if defaults[name] in (None, ...) else f"{sentence} Default: {defaults[name]}."
        about: Any = {"help": told.replace("%", "%%"), "default": argparse.SUPPRESS, "dest": name}
        if plain is bool:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, **about)
        else:
            parser.add_argument(*flags, type=_reader(plain), metavar="VALUE", **about)
    given = vars(parser.parse_args(arguments))
    file = given.pop("config", None)
    if file is None:
        return from_dict(kind, given)
    values = dataclasses.asdict(from_file(kind, file))  # type: ignore[call-overload]
    return from_dict(kind, values | given)


def _reader(hint: Any) -> Any:
    kinds = (
        [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if isinstance(hint, types.UnionType)
        else [hint]
    )

    def read(text: str) -> Any:
        if text.lower() in ("none", "null") and len(kinds) < len(typing.get_args(hint) or kinds):
            return None
        for kind in kinds:
            origin = typing.get_origin(kind) or kind
            if origin is bool and text.lower() in (*_TRUE, *_FALSE):
                return text.lower() in _TRUE
            if origin in (int, float, str):
                return origin(text)
            if origin is dict and "=" in text and text[:1] != "{":
                return named_values("the setting", text)
            if origin in (list, dict):
                return json.loads(text) if text[:1] in "[{" else text.split(",")
        return text

    read.__name__ = getattr(hint, "__name__", str(hint))
    return read


def named_values(name: str, text: str) -> dict[str, Any]:
    """Read "momentum=0.9, nesterov=true" as a mapping; numbers, true, false and none are what they say.

    Raises:
        OptionError: A part has no name, or no value.
    """
    found: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise OptionError(
                f"{name}={text!r} is not a list of names and values, such as 'momentum=0.9,nesterov=true'."
            )
        word = value.lower()
        if word in ("true", "false", "none"):
            found[key] = {"true": True, "false": False, "none": None}[word]
            continue
        try:
            found[key] = int(value)
        except ValueError:
            try:
                found[key] = float(value)
            except ValueError:
                found[key] = value
    return found


def _yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise OptionError(
            "Reading YAML needs PyYAML. Install it with: pip install pyyaml; or use a JSON file."
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
