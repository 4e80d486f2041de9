"""The flat params that trackers hold: flattening a config, comparing and shortening values."""

import re
from typing import Any

from runcast.values.config import plain, plain_value, to_json
from runcast.values.names import NameRule
from runcast.values.scalars import ParamValue, encodable, without_surrogates

__all__ = ["flatten", "plain", "plain_value", "same_param", "shorten"]

_ESCAPED = NameRule(forbidden="[/\ud800-\udfff]")


def flatten(tree: dict[str, Any]) -> dict[str, ParamValue]:
    """Join the names of a tree with '/'; distinct values keep distinct names.

    A list of scalars becomes one compact JSON text; a list that holds a mapping is joined by index. Where two paths
    would collide, as in `{"a/b": 1, "a": {"b": 2}}`, the slashes inside their keys are escaped as in
    `runcast.values.names`.
    """
    leaves: list[tuple[tuple[str, ...], ParamValue]] = []
    _collect((), tree, leaves)
    names = [without_surrogates("/".join(path)) for path, _ in leaves]
    while len(set(names)) < len(names):
        alike: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            alike.setdefault(name, []).append(index)
        for indices in alike.values():
            if len(indices) > 1:
                for index in indices:
                    names[index] = "/".join(map(_ESCAPED.encode, leaves[index][0]))
    return {name: value for name, (_, value) in zip(names, leaves, strict=True)}


def _collect(path: tuple[str, ...], tree: Any, leaves: list[tuple[tuple[str, ...], ParamValue]]) -> None:
    if isinstance(tree, dict) and (tree or not path):
        for key, value in tree.items():
            _collect((*path, key), value, leaves)
    elif isinstance(tree, list) and any(map(_holds_mapping, tree)):
        for index, value in enumerate(tree):
            _collect((*path, str(index)), value, leaves)
    elif isinstance(tree, list | dict):
        leaves.append((path, to_json(plain_value(tree))))
    elif isinstance(tree, str):
        leaves.append((path, without_surrogates(tree)))
    else:
        leaves.append((path, encodable(tree) if isinstance(tree, float) else tree))


def _holds_mapping(tree: Any) -> bool:
    return isinstance(tree, dict) or (isinstance(tree, list) and any(map(_holds_mapping, tree)))


_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|nan|[+-]?inf(?:inity)?", re.IGNORECASE)
_BOOLS = {"True": True, "true": True, "False": False, "false": False}
_NOTHING = ("None", "null", "")
MAX_DIGITS = 300  # more do not fit a float


def same_param(a: Any, b: Any) -> bool:
    """Return whether two params are the same value, kept by a tracker as text, as a float or unchanged.

    1, 1.0 and "1" are the same; True, "True" and "true" are; None, "None", "null" and "" are. Two texts are the same
    if they are equal. True is not 1.
    """
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    if a is None or b is None:
        return all(each is None or each in _NOTHING for each in (a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return _bool(a) is _bool(b)
    one, other = _number(a), _number(b)
    if one is None or other is None:
        return bool(a == b)
    if isinstance(one, float) or isinstance(other, float):
        one, other = float(one), float(other)
    return one == other or (one != one and other != other)


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else _BOOLS.get(value) if isinstance(value, str) else None


def _number(value: Any) -> float | int | None:
    if not isinstance(value, str):
        return value if isinstance(value, int | float) else None
    if len(value) > MAX_DIGITS or not _NUMBER.fullmatch(value):
        return None
    return int(value) if value.lstrip("+-").isdigit() else float(value)


def shorten(text: str, max_chars: int) -> str:
    """Shorten a long text, and say in it that it was shortened and where the whole text is."""
    if len(text) <= max_chars:
        return text
    note = f"… (cut: {len(text):,} characters; whole in config.json)"
    if max_chars < 2 * len(note):
        note = "…"[:max_chars]
    return text[: max_chars - len(note)] + note
