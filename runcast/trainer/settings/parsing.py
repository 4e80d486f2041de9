"""Settings from a dict, a JSON or YAML file, or the command line."""

import argparse
import dataclasses
import json
import os
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runcast.core.errors import OptionError
from runcast.trainer.settings.compatibility import NotHere
from runcast.trainer.settings.conversion import NONE, convert
from runcast.trainer.settings.unknown import refuse_unknown

Settings = TypeVar("Settings")


def from_dict(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Make settings of a mapping.

    Raises:
        OptionError: A name is unknown; the message holds the one that was probably meant.
    """
    refuse_unknown(kind, values)
    return kind(**values)


def from_file(kind: type[Settings], path: str | os.PathLike[str]) -> Settings:
    """Make settings of a JSON or YAML file with a mapping.

    Raises:
        OptionError: The file cannot be read, or is something else.
    """
    return from_dict(kind, _read(Path(path)))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = _yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError) as error:
        raise OptionError(
            f"{path} cannot be read as {'YAML' if path.suffix in ('.yaml', '.yml') else 'JSON'}: {error}."
        ) from error
    if not isinstance(values, Mapping):
        raise OptionError(f"{path} holds a {type(values).__name__}, not a mapping of settings.")
    return values


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
        if name not in defaults:
            continue
        plain, sentence = typing.get_args(hint)[:2] if typing.get_origin(hint) is typing.Annotated else (hint, "")
        if isinstance(sentence, NotHere):
            continue
        flags = [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])]
        told = sentence if defaults[name] in (None, ...) else f"{sentence} Default: {defaults[name]}."
        about: Any = {"help": told.replace("%", "%%"), "default": argparse.SUPPRESS, "dest": name}
        if bool in (plain, *typing.get_args(plain)):  # --bf16, --no-bf16, and --bf16 false
            about |= {"nargs": "?", "const": True}
            negative = [f"--no-{flag.removeprefix('--')}" for flag in flags]
            parser.add_argument(
                *negative, action="store_false", dest=name, default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )
        parser.add_argument(*flags, type=_reader(plain), metavar="VALUE", **about)
    read, others = parser.parse_known_args(arguments)
    try:
        refuse_unknown(kind, [word[2:].partition("=")[0].replace("-", "_") for word in others if word[:2] == "--"])
    except OptionError as error:
        parser.error(str(error))
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    given = vars(read)
    file = given.pop("config", None)
    return from_dict(kind, given if file is None else {**_read(Path(file)), **given})


def _reader(hint: Any) -> Any:
    """Return what argparse converts a text with; its name is in the message about a wrong one."""

    def read(text: str) -> Any:
        kinds = typing.get_args(hint)
        if type(None) in kinds and Any not in kinds and text.lower() in NONE:
            return None
        return convert(hint, text)

    read.__name__ = getattr(hint, "__name__", str(hint))
    return read


def _yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError as error:
        raise OptionError(
            "Reading YAML needs PyYAML. Install it with: pip install pyyaml; or use a JSON file."
        ) from error

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """YAML with the numbers of YAML 1.2: 1e-4 is one. The older version wants 1.0e-4."""

    number = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
