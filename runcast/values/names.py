"""Reversible escaping of keys that a service cannot hold; distinct keys stay distinct.

A character outside a service's alphabet becomes `_x<hex>_` (its code point), the empty key `_x_`; an underscore that
would read as the beginning of such an escape is escaped itself. `decode(encode(key)) == key` for every key up to the
service's length. A longer key keeps its beginning and ends in `-` and ten digits of its SHA-256. That cannot be undone
from the text alone, so the delivery keeps a table of these keys.
"""

import re
from functools import cached_property

import msgspec

_ESCAPED = re.compile(r"_x([0-9a-f]{0,6})_")


def escape(text: str) -> str:
    """Escape every character of *text*, or the empty text."""
    return "".join(f"_x{ord(c):x}_" for c in text) or "_x_"


def decode(name: str) -> str:
    """Undo `NameRule.encode`, except for a truncated name and one that is shown last."""
    return _ESCAPED.sub(_unescape, name) if "_x" in name else name


def _unescape(match: re.Match[str]) -> str:
    digits = match[1]
    return chr(int(digits, 16)) if digits and int(digits, 16) < 0x110000 else ""


class NameRule(msgspec.Struct, frozen=True, dict=True):
    """The metric keys that a service can hold: data at the top of a tracker module.

    `forbidden` is a regular expression that matches a piece to escape; `max_length` is in characters; `reserved` are
    whole names that the service keeps for itself. Keys that begin with one of `last` get a `~`, where a page sorts
    names and has no other way to show some after the others.
    """

    forbidden: str = r"(?!)"
    max_length: int = 100_000
    reserved: frozenset[str] = frozenset()
    last: tuple[str, ...] = ()

    @cached_property
    def _to_escape(self) -> re.Pattern[str]:
        return re.compile(f"(?:{self.forbidden})|_(?=x[0-9a-f]{{0,6}}(?:_|{self.forbidden}))")

    def encode(self, key: str) -> str:
        """Return the name under which the service holds *key*."""
        name = self._to_escape.sub(lambda match: escape(match[0]), key)
        if not name or name in self.reserved:
            name = escape(name[:1]) + name[1:]
        if key.startswith(self.last):
            name = f"~{name}"
        elif key.startswith(tuple(f"~{beginning}" for beginning in self.last)):
            name = escape("~") + name[1:]
        if len(name) > self.max_length:
            import hashlib  # rarely needed, and start-up counts

            digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:10]
            name = f"{name[: self.max_length - 11]}-{digest}"
        return name


class PathRule(NameRule, frozen=True):
    """A rule for keys that become paths, whose parts are limited in bytes.

    `part_bytes` stays below the 255 of a file name, with room for what a service adds. `path_bytes` stays below the
    4096 of a path, and below Python's recursion limit when it makes nested folders. No file system has a name with a
    zero byte.
    """

    forbidden: str = r"\0"
    part_bytes: int = 240
    path_bytes: int = 500

    def encode(self, key: str) -> str:
        """Return the name under which the service holds *key*."""
        parts = super().encode(key).split("/")
        return _cut("/".join(_cut(part, self.part_bytes) for part in parts), self.path_bytes)


def _cut(text: str, size_bytes: int) -> str:
    data = text.encode()
    if len(data) <= size_bytes:
        return text
    import hashlib  # rarely needed, and start-up counts

    return f"{data[: size_bytes - 11].decode(errors='ignore').rstrip('/')}-{hashlib.sha256(data).hexdigest()[:10]}"
