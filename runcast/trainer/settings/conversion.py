"""Conversion of a setting to the type of its field; ambiguous values are rejected.

Settings come from Python, JSON, YAML and the command line: all of them are read here.
"""

import ast
import dataclasses
import json
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.values.numbers import NotANumber, to_number
from runcast.values.scalars import FALSE, TRUE

NONE = ("none", "null")


class NotConvertible(ValueError):
    """A value that is not of the wanted type and cannot be converted unambiguously."""


def typed(name: str, hint: Any, value: Any) -> Any:
    """Convert a value to the type of its field.

    Raises:
        OptionError: It is something else; the message names the field, the value and what is valid.
    """
    try:
        return convert(hint, value)
    except NotConvertible:
        shown = "<secret>" if name.endswith("token") else repr(value)
        raise OptionError(f"{name}={shown} is not {describe(hint)}.") from None


def convert(hint: Any, value: Any) -> Any:
    """Convert a value to a type: a class, a union, a Literal, a list or a dict.

    Raises:
        NotConvertible: It is something else.
    """
    origin = typing.get_origin(hint) or hint
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(typing.get_args(hint), value)
    if origin is typing.Literal:
        return _chosen(typing.get_args(hint), value)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return value if isinstance(value, origin) else _chosen(tuple(origin), value)
    if isinstance(value, Enum):
        value = value.value
    if origin in _CONVERTERS:
        return _CONVERTERS[origin](value)
    if origin in (list, tuple):
        items = _items(value)
        of = (typing.get_args(hint) or (Any,))[0]
        return origin(convert(of, item) for item in items)
    if origin in (dict, Mapping):
        of = (typing.get_args(hint) or (Any, Any))[1]
        return {str(key): convert(of, item) for key, item in _mapping(value).items()}
    if dataclasses.is_dataclass(origin) and isinstance(value, Mapping):
        hints = typing.get_type_hints(origin)
        return typing.cast("Any", origin)(**{key: typed(key, hints.get(key, Any), item) for key, item in value.items()})
    if isinstance(origin, type) and not isinstance(value, origin):
        raise NotConvertible
    return value


def describe(hint: Any) -> str:
    """Return what is valid for a type."""
    origin = typing.get_origin(hint) or hint
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(describe(kind) for kind in typing.get_args(hint)))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, typing.get_args(hint)))}"
    if isinstance(origin, type) and issubclass(origin, Enum):
        return f"one of {', '.join(str(member.value) for member in origin)}"
    return _DESCRIBED.get(origin) or f"a {getattr(origin, '__name__', origin)}"


def _one_of(kinds: tuple[Any, ...], value: Any) -> Any:
    can_be_none = type(None) in kinds
    if can_be_none and (value is None or (isinstance(value, str) and str not in kinds and value.lower() in NONE)):
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if str in others and any(typing.get_origin(kind) is dict for kind in others):
        others.remove(str)  # it stands for a mapping written as text, which HfArgumentParser gives
    for kind in sorted(others, key=lambda kind: not _is_exactly(kind, value)):
        try:
            return convert(kind, value)
        except NotConvertible:
            pass
    raise NotConvertible


def _is_exactly(hint: Any, value: Any) -> bool:
    kind: Any = typing.get_origin(hint) or hint
    return type(value) is kind


def _chosen(choices: tuple[Any, ...], value: Any) -> Any:
    wanted = str(value.value if isinstance(value, Enum) else value).lower()
    for choice in choices:
        names = (choice.value, choice.name) if isinstance(choice, Enum) else (choice,)
        if wanted in [str(name).lower() for name in names]:
            return choice
    raise NotConvertible


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in (*TRUE, *FALSE):
            return word in TRUE
        raise NotConvertible
    number = _number(value)
    if number not in (0, 1):
        raise NotConvertible
    return bool(number)


def _to_int(value: Any) -> int:
    number = _to_float(value)
    if not math.isfinite(number) or number != int(number):
        raise NotConvertible
    return int(number)


def _to_float(value: Any) -> float:
    """Return a float, or an int that is one already: the params of a run show what was written."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith(("bool", "bool_")):
        raise NotConvertible
    if isinstance(value, str):
        for kind in (int, float):
            try:
                value = kind(value)
            except ValueError:
                continue
            break
    number = _number(value)
    if math.isnan(number):
        raise NotConvertible
    return number


def _number(value: Any) -> float:
    try:
        return value if type(value) is int else to_number(value)
    except NotANumber:
        raise NotConvertible from None


def _to_text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) or type(value) is int:  # YAML makes a number of a name like 20261129
        return str(value)
    raise NotConvertible


def _to_path(value: Any) -> Path:
    return Path(_to_text(value))


def _items(value: Any) -> Sequence[Any] | Set[Any]:
    if isinstance(value, str):
        if value.strip()[:1] != "[":
            return [part.strip() for part in value.split(",") if part.strip()]
        value = _json(value)
    if not isinstance(value, Sequence | Set) or isinstance(value, bytes):
        raise NotConvertible
    return sorted(value) if isinstance(value, Set) else value


def _mapping(value: Any) -> Mapping[Any, Any]:
    if isinstance(value, str):
        value = _json(value) if value.strip()[:1] == "{" else _pairs(value)
    if not isinstance(value, Mapping):
        raise NotConvertible
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise NotConvertible from None


def _pairs(text: str) -> dict[str, Any]:
    """Read 'momentum=0.9, nesterov=true, betas=(0.9, 0.95)'; numbers, true, false and none are what they say."""
    found = {}
    for part in re.split(r",(?![^(\[]*[)\]])", text):  # not at a comma in brackets
        name, equals, word = (piece.strip() for piece in part.partition("="))
        if not (name and equals and word):
            raise NotConvertible
        found[name] = _word(word)
    return found


def _word(text: str) -> Any:
    named = {"true": True, "false": False, **dict.fromkeys(NONE)}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


_CONVERTERS: dict[Any, typing.Callable[[Any], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_text,
    Path: _to_path,
}
_DESCRIBED: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    list: "a list",
    tuple: "a list",
    dict: "a list of names and values: a mapping, or text such as 'momentum=0.9,nesterov=true'",
    Mapping: "a mapping",
    type(None): "None",
}
